#pragma once

#include <cstdint>
#include <vector>

namespace evictlab::sim {

/// The candidates of every kept set of a layer in the order in which a selector prefers them. What a budget keeps is a
/// prefix: later cuts need no scores, and one ranking serves every budget.
struct Ranking {
  std::vector<std::vector<std::int32_t>> order;  // [kept sets][at most the ceiling]
};

}  // namespace evictlab::sim
