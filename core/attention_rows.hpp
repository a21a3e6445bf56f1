#pragma once

#include <cstddef>
#include <span>

#include "core/half.hpp"

namespace evictlab::core {

/// The keys one query sees: begin <= j < end.
struct VisibleKeys {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// Softmax attention rows (Vaswani et al. 2017, eq. 1) of R queries that read the same n keys:
///   rows[r][j] = e^(scale q_r·k_j) / sum of the same over the keys r sees; 0 for the others, for all if it sees none.
/// queries [R, dim]; keys [n, dim]; visible [R]; rows [R, n], overwritten. Keys are read once, whatever R: give all
/// query heads of a kv head together. A key tensor's scale divides `scale`.
///
/// A row depends on nothing but its own query, keys and range. All but a row's sum is computed in float: for logits of
/// a few units weights are within 1e-6 of their value, relatively; the error grows with scale |q_r| |k_j|. One below
/// e^-87 of its row's largest may be 0. The fastest instruction set of the machine is chosen at run time; the result
/// does not depend on the choice. Queries, keys, products and `scale` >= 0 must be finite. Throws std::invalid_argument
/// when sizes contradict, a range lies outside, or the scale is negative.
void attention_rows(std::span<const float> queries, std::span<const float> keys, std::size_t dim, float scale,
                    std::span<const VisibleKeys> visible, std::span<float> rows);
void attention_rows(std::span<const float> queries, std::span<const Half> keys, std::size_t dim, float scale,
                    std::span<const VisibleKeys> visible, std::span<float> rows);

}  // namespace evictlab::core
