// The highest-ranked candidates one by one. Scores decide, then the lower position: deterministic, what
// CUDA's top-k does, and it makes the sets of growing budgets nested.

#include <algorithm>

#include "core/select.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/selector.hpp"

namespace evictlab::sim {
namespace {

class TopSelector final : public Selector {
 public:
  std::vector<std::int32_t> rank(const RankRequest& request) const override {
    const auto& [ranges, importance, set, ceiling, slots, capacity] = request;
    const Index count = std::min(ceiling, ranges.candidates());
    std::vector<std::int32_t> ranked;
    ranked.reserve(static_cast<std::size_t>(count));
    if (!importance.scores) {
      for (Index i = 0; i < count; ++i) ranked.push_back(static_cast<std::int32_t>(ranges.candidates_begin + i));
      return ranked;
    }
    const float* row = importance.scores->row(set).data() + ranges.candidates_begin;
    const std::span scores(row, static_cast<std::size_t>(ranges.candidates()));
    for (const std::uint32_t index : core::top_ranked(scores, static_cast<std::size_t>(count))) {
      ranked.push_back(static_cast<std::int32_t>(ranges.candidates_begin + index));
    }
    return ranked;
  }

  Index prefix(std::span<const std::int32_t> ranked, const PositionRanges& /*ranges*/, Index slots) const override {
    return std::min(slots, static_cast<Index>(ranked.size()));
  }
};

}  // namespace

SelectorDefinition top_selector() {
  return {.description = "the best positions one by one",
          .make = [](const Parameters&) { return std::make_unique<TopSelector>(); }};
}

}  // namespace evictlab::sim
