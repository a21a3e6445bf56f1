#include "analysis/allocation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace evictlab::analysis {
namespace {

using trace::Index;

// The segment from a vertex of a set's hull to the next.
struct Segment {
  double slope;
  std::uint32_t set;
  std::uint32_t vertex;
};

double gain(const ConcaveHull& hull, std::size_t vertex) { return hull.value(vertex + 1) - hull.value(vertex); }
Index length(const ConcaveHull& hull, std::size_t vertex) { return hull.count(vertex + 1) - hull.count(vertex); }

// A set's slopes never rise (division rounds monotonically), so a stable sort keeps its segments in order.
std::vector<Segment> segments_by_slope(std::span<const ConcaveHull> hulls) {
  std::vector<Segment> segments;
  for (std::size_t set = 0; set < hulls.size(); ++set) {
    for (std::size_t vertex = 0; vertex + 1 < hulls[set].vertices(); ++vertex) {
      const double slope = gain(hulls[set], vertex) / static_cast<double>(length(hulls[set], vertex));
      segments.push_back({slope, static_cast<std::uint32_t>(set), static_cast<std::uint32_t>(vertex)});
    }
  }
  std::stable_sort(segments.begin(), segments.end(),
                   [](const Segment& a, const Segment& b) { return a.slope > b.slope; });
  return segments;
}

// Counts that end on vertices, and what they retain.
class Division {
 public:
  explicit Division(std::span<const ConcaveHull> hulls) : hulls_(hulls) {
    for (const ConcaveHull& hull : hulls) {
      counts_.push_back(hull.least());
      slots_ += hull.least();
      value_ += hull.value(0);
    }
  }

  Index slots() const { return slots_; }
  double value() const { return value_; }

  void take(const Segment& segment) {
    const ConcaveHull& hull = hulls_[segment.set];
    counts_[segment.set] += length(hull, segment.vertex);
    slots_ += length(hull, segment.vertex);
    value_ += gain(hull, segment.vertex);
  }

  SlotAllocation alone() const { return {counts_, value_, value_}; }

  // With `rest` more slots for the segment's set, fewer than the segment has.
  SlotAllocation with_part(const Segment& segment, Index rest, const CurveValue& value_of) const {
    SlotAllocation out = alone();
    if (rest == 0) return out;
    out.counts[segment.set] += rest;
    out.value += value_of(segment.set, out.counts[segment.set]) - hulls_[segment.set].value(segment.vertex);
    return out;
  }

 private:
  std::span<const ConcaveHull> hulls_;
  std::vector<Index> counts_;
  Index slots_ = 0;
  double value_ = 0;
};

// Divides the `rest` slots that are left before segment `first`, which does not fit into them.
SlotAllocation fill(const Division& whole, std::span<const ConcaveHull> hulls, std::span<const Segment> segments,
                    std::size_t first, Index rest, const CurveValue& value_of) {
  const Segment& unfit = segments[first];
  SlotAllocation part = whole.with_part(unfit, rest, value_of);
  Division filled = whole;
  Index left = rest;
  std::vector<bool> closed(hulls.size(), false);  // sets of which a segment was passed over
  for (std::size_t i = first; i < segments.size() && left > 0; ++i) {
    const Segment& segment = segments[i];
    if (closed[segment.set]) continue;
    const Index slots = length(hulls[segment.set], segment.vertex);
    if (slots > left) {
      closed[segment.set] = true;
      continue;
    }
    filled.take(segment);
    left -= slots;
  }
  if (left < rest) {
    SlotAllocation other = filled.with_part(unfit, left, value_of);
    if (other.value > part.value) part = std::move(other);
  }
  const double fraction = static_cast<double>(rest) / static_cast<double>(length(hulls[unfit.set], unfit.vertex));
  part.bound = std::max(part.value, whole.value() + fraction * gain(hulls[unfit.set], unfit.vertex));
  return part;
}

}  // namespace

ConcaveHull::ConcaveHull(std::span<const double> curve, Index least) {
  const auto points = static_cast<Index>(curve.size());
  if (points == 0 || points > std::numeric_limits<std::int32_t>::max() || least < 0 || least >= points) {
    throw std::invalid_argument(
        fmt::format("a curve of {} values, for at least {} positions: needs 1 to 2^31-1 values, more than the least",
                    points, least));
  }
  if (!std::isfinite(curve.front()) || !std::isfinite(curve.back())) {
    throw std::invalid_argument("a curve of retained attention must be finite");
  }
  for (Index count = 0; count < points; ++count) {
    const double value = curve[static_cast<std::size_t>(count)];
    if (count > 0 && !(value >= curve[static_cast<std::size_t>(count) - 1])) {
      throw std::invalid_argument(fmt::format("a curve of retained attention falls at count {}", count));
    }
    if (count < least) continue;
    // Andrew's monotone chain: a vertex leaves that is not above the line from the one before it to the new point.
    while (counts_.size() > 1) {
      const std::size_t last = counts_.size() - 1;
      const double before = (values_[last] - values_[last - 1]) * static_cast<double>(count - counts_[last]);
      const double after = (value - values_[last]) * static_cast<double>(counts_[last] - counts_[last - 1]);
      if (before > after) break;
      counts_.pop_back();
      values_.pop_back();
    }
    counts_.push_back(static_cast<std::int32_t>(count));
    values_.push_back(value);
  }
  counts_.shrink_to_fit();
  values_.shrink_to_fit();
}

std::vector<SlotAllocation> allocations(std::span<const ConcaveHull> hulls, const CurveValue& value_of,
                                        std::span<const Index> totals) {
  Division whole(hulls);
  Index most = 0;
  for (const ConcaveHull& hull : hulls) most += hull.most();
  if (!std::is_sorted(totals.begin(), totals.end()) || (!totals.empty() && totals.front() < whole.slots())) {
    throw std::invalid_argument(
        fmt::format("totals must ascend and be no less than the sets' least counts together, {}", whole.slots()));
  }
  const std::vector<Segment> segments = segments_by_slope(hulls);
  std::size_t next = 0;
  std::vector<SlotAllocation> out;
  for (const Index total : totals) {
    const Index wanted = std::min(total, most);
    while (whole.slots() < wanted) {
      const Segment& segment = segments[next];
      if (whole.slots() + length(hulls[segment.set], segment.vertex) > wanted) break;
      whole.take(segment);
      ++next;
    }
    out.push_back(whole.slots() == wanted ? whole.alone()
                                          : fill(whole, hulls, segments, next, wanted - whole.slots(), value_of));
  }
  return out;
}

SlotAllocation best_allocation(std::span<const ConcaveHull> hulls, const CurveValue& value_of, Index total) {
  return allocations(hulls, value_of, std::span(&total, 1)).front();
}

}  // namespace evictlab::analysis
