#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trace/tensor.hpp"

namespace evictlab::runtime {

using trace::Index;

/// One step of rearranging the rows of an array where they are: rows `to` and `from` change places, or `to` becomes a
/// copy of `from`.
struct RowMove {
  Index to = 0;
  Index from = 0;
  bool copies = false;
};

/// The moves after which row i of an array of `rows` rows is what row order[i] was, for every i. A row may be asked for
/// several times, as long as order.size() <= rows; what is not asked for ends up behind. Takes no second array, so that
/// a cache is compacted in the memory it has.
std::vector<RowMove> moves_to_gather(std::span<const Index> order, Index rows);

/// Carries them out on rows of `width` floats.
void apply_moves(std::span<const RowMove> moves, float* rows, Index width);

}  // namespace evictlab::runtime
