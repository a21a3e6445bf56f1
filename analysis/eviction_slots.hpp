#pragma once

#include <Eigen/Core>

#include <cstdint>
#include <span>
#include <vector>

#include "trace/tensor.hpp"

// The best eviction while generating, with hindsight. Positions leave a kept set in slots: slot 0 follows the prompt,
// slot s >= 1 comes after future query s - 1 and before query s. A position that leaves in slot s is seen by queries
// below s and never returns, so caching's farthest-first rule (Belady 1966) does not apply: what leaves is chosen once
// per position, by what it would still be paid,
//
//   loss(j, s) = sum_{t >= s} A[t][j],
//
// and the best choice is an assignment of positions to slots of given capacity: a transportation problem.

namespace evictlab::analysis {

/// Says how many of n prompt and T future positions must leave when. Position n + t exists from query t on.
struct EvictionSlots {
  std::span<const std::int32_t> capacity;  // [T]: positions that leave in slot s, exactly
  trace::Index sinks = 0;                  // positions 0..sinks-1 never leave
  trace::Index recent = 0;                 // slot s takes only positions below n + s - recent: so many newer ones exist
};

struct EvictionTimes {
  /// [n + T]: the first future query that no longer finds the position, which is its slot; T if it never leaves.
  std::vector<std::int32_t> until;
  /// sum over t, and over positions held at query t, of A[t][j]. Attention is cut to multiples of at most 2^-59 of its
  /// sum and then added exactly: ties are real, and this errs by (n + T) T 2^-59 of that sum at most.
  double retained = 0;
};

/// Evicts, slot by slot, the positions that would be paid least from then on. Ties: the higher position leaves, since
/// of equals the lower one is kept everywhere. Not the best: what it takes early can no longer leave for less later.
///
/// `attention` [T, n + T], >= 0: what query t pays position j, summed over the heads that read the set; entries of
/// positions that do not exist yet (j > n + t) are not read. Throws std::invalid_argument when shapes contradict,
/// attention is negative or not finite, or more must leave by some slot than may.
EvictionTimes greedy_eviction(const Eigen::Ref<const trace::RowMatrix>& attention, const EvictionSlots& slots);

/// The most mass that can be retained, exactly; arguments and errors as above. Slots are filled in order; each eviction
/// after the first slot's takes the cheapest chain of moves between slots (successive shortest paths). Which of equally
/// good times are found depends on the arguments alone. Holds 8 (n + T) bytes for every slot that takes something.
EvictionTimes optimal_eviction(const Eigen::Ref<const trace::RowMatrix>& attention, const EvictionSlots& slots);

}  // namespace evictlab::analysis
