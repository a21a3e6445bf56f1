#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "trace/tensor.hpp"

// The best division of slots over kept sets with fixed rankings: counts c_s, of a given sum, for which
//
//   sum_s f_s(c_s),   f_s(c) = future attention that the first c positions of set s's ranking retain,
//
// is largest. f_s never falls, but is concave only if the future itself ranks: the problem is a knapsack. Replaced by
// their concave envelopes, as in LU-KV (arXiv:2602.08585), the curves are divided best by taking the envelopes'
// segments in order of slope. That sum bounds every division's, and a real division is at most one segment below it.

namespace evictlab::analysis {

/// Holds the least concave curve above another one, as the vertices where the two touch. Made once per set, it serves
/// every total. 12 bytes a vertex; values are double, since slopes are differences of nearly equal sums.
class ConcaveHull {
 public:
  /// `curve` [m + 1]: f(0), ..., f(m), finite, never falling, m < 2^31. The set gets no fewer than `least` of its m
  /// positions: the hull begins there. O(m). Throws std::invalid_argument when the curve or `least` is none of that.
  explicit ConcaveHull(std::span<const double> curve, trace::Index least = 0);

  /// At least 1. Counts rise; slopes between vertices fall, to rounding: a straight run is one segment.
  std::size_t vertices() const { return counts_.size(); }
  trace::Index count(std::size_t vertex) const { return counts_[vertex]; }
  double value(std::size_t vertex) const { return values_[vertex]; }
  trace::Index least() const { return counts_.front(); }
  trace::Index most() const { return counts_.back(); }

 private:
  std::vector<std::int32_t> counts_;  // [vertices]
  std::vector<double> values_;        // [vertices], of the curve and its hull alike
};

/// f_s(count) of set `set`: the curve its hull was made of. Asked only between vertices.
using CurveValue = std::function<double(std::size_t set, trace::Index count)>;

struct SlotAllocation {
  std::vector<trace::Index> counts;  // [sets]: within each hull's least() and most(), of sum min(total, sum of most())
  double value = 0;                  // sum over sets of f_s(counts[s])
  double bound = 0;                  // >= value: no counts of this sum and these limits reach more, to rounding
};

/// Divides each of the ascending `totals`. Hull segments are taken in falling order of slope (ties: the lower set
/// first) while they fit whole. The first that does not fit gives the bound by its fraction, and the division by the
/// better of two ways: all that is left goes to its set, or whole later segments come before it. The segments of all S
/// sets are sorted once; a total then costs O(S) and a walk over later segments until none is left to fill. Throws
/// std::invalid_argument when totals fall or the first is below the sum of the least counts.
std::vector<SlotAllocation> allocations(std::span<const ConcaveHull> hulls, const CurveValue& value_of,
                                        std::span<const trace::Index> totals);

/// Divides one total.
SlotAllocation best_allocation(std::span<const ConcaveHull> hulls, const CurveValue& value_of, trace::Index total);

}  // namespace evictlab::analysis
