#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace evictlab::core {

/// The order of everything that ranks positions: larger score first, of equal scores the lower index
/// first. -0.0 equals 0.0. Scores must not be NaN; +-infinity are allowed.

/// All indices of `scores` in that order (a stable radix sort, O(n)). At most 2^32-1 scores.
std::vector<std::uint32_t> argsort_descending(std::span<const float> scores);

/// The first min(count, scores.size()) indices of that order, in that order.
std::vector<std::uint32_t> top_ranked(std::span<const float> scores, std::size_t count);

/// The same indices as top_ranked, ascending: a radix select without a sort.
std::vector<std::uint32_t> top_positions(std::span<const float> scores, std::size_t count);

}  // namespace evictlab::core
