#include "sim/replay/agreement.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <vector>

namespace evictlab::sim {

Agreement retention_agreement(const LayerRetention& first, const LayerRetention& second,
                              const trace::RowMatrix* scores) {
  if (first.sets() != second.sets()) throw std::invalid_argument("retentions of different numbers of kept sets");
  Agreement result;
  double overlaps = 0.0;
  for (Index set = 0; set < first.sets(); ++set) {
    const std::vector<std::int32_t> a = first.kept_ascending(set);
    const std::vector<std::int32_t> b = second.kept_ascending(set);
    std::vector<std::int32_t> common;
    std::vector<std::int32_t> alone;
    std::ranges::set_intersection(a, b, std::back_inserter(common));
    std::ranges::set_symmetric_difference(a, b, std::back_inserter(alone));
    const std::size_t either = common.size() + alone.size();
    overlaps += either == 0 ? 1.0 : static_cast<double>(common.size()) / static_cast<double>(either);
    result.mismatches += static_cast<Index>(alone.size());
    if (scores == nullptr) continue;
    double lowest = std::numeric_limits<double>::infinity();
    double largest = -lowest;
    for (const std::int32_t position : alone) {
      const auto score = static_cast<double>((*scores)(set, position));
      if (!std::isfinite(score)) continue;
      lowest = std::min(lowest, score);
      largest = std::max(largest, score);
    }
    if (lowest > largest) continue;
    const double scale = std::max(std::abs(lowest), std::abs(largest));
    result.margin = std::max(result.margin.value_or(0.0), scale > 0.0 ? (largest - lowest) / scale : 0.0);
  }
  result.overlap = overlaps / static_cast<double>(std::max<Index>(1, first.sets()));
  return result;
}

}  // namespace evictlab::sim
