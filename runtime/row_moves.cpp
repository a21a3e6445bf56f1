#include "runtime/row_moves.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace evictlab::runtime {

std::vector<RowMove> moves_to_gather(std::span<const Index> order, Index rows) {
  const auto count = static_cast<Index>(order.size());
  if (count > rows) throw std::invalid_argument("more rows are asked for than there is room for");
  std::vector<Index> place(static_cast<std::size_t>(rows));  // of a row: where it is now
  std::iota(place.begin(), place.end(), Index{0});
  std::vector<Index> row_at = place;                             // its inverse
  std::vector<Index> wanted(static_cast<std::size_t>(rows), 0);  // how often a row is still to be placed
  for (const Index row : order) ++wanted.at(static_cast<std::size_t>(row));

  std::vector<RowMove> moves;
  const auto exchange = [&](Index a, Index b) {
    if (a == b) return;
    moves.push_back({a, b, false});
    Index& row_a = row_at[static_cast<std::size_t>(a)];
    Index& row_b = row_at[static_cast<std::size_t>(b)];
    std::swap(place[static_cast<std::size_t>(row_a)], place[static_cast<std::size_t>(row_b)]);
    std::swap(row_a, row_b);
  };
  const auto is_wanted = [&](Index at) {
    return wanted[static_cast<std::size_t>(row_at[static_cast<std::size_t>(at)])] > 0;
  };
  for (Index i = 0; i < count; ++i) {
    const Index row = order[static_cast<std::size_t>(i)];
    const Index from = place[static_cast<std::size_t>(row)];
    --wanted[static_cast<std::size_t>(row)];
    if (from >= i) {
      exchange(i, from);
      continue;
    }
    // It has its first place already: a copy, over a row that nobody asks for.
    if (is_wanted(i)) {
      Index unused = rows - 1;
      while (is_wanted(unused)) --unused;
      exchange(i, unused);
    }
    moves.push_back({i, from, true});
  }
  return moves;
}

void apply_moves(std::span<const RowMove> moves, float* rows, Index width) {
  for (const RowMove& move : moves) {
    float* to = rows + move.to * width;
    float* from = rows + move.from * width;
    if (move.copies) {
      std::copy_n(from, width, to);
    } else {
      std::swap_ranges(to, to + width, from);
    }
  }
}

}  // namespace evictlab::runtime
