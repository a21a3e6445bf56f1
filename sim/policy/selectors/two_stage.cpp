// Rankings that depend on the budget.
//
// Two stages (CriticalKV: Feng et al. 2025, arXiv:2502.03805, algorithm 1): of K positions the int(K * first_stage)
// most important come first, the others follow by (importance + epsilon) * refinement. CriticalAdaKV fills the first
// stage from the set's own budget, and at least with what was guaranteed to it before the sets competed.
//
// Recent first: part of the budget is for the most recent positions, the rest for the most important (H2O).
//
// Guaranteed: the guaranteed ones come first, ties to the lower position; the others after them, ties to the higher.

#include <algorithm>

#include "core/select.hpp"
#include "sim/policy/allocators/layer_share.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/selector.hpp"

namespace evictlab::sim {
namespace {

std::span<const float> candidates_of(const trace::RowMatrix& scores, const RankRequest& request) {
  return {scores.row(request.set).data() + request.ranges.candidates_begin,
          static_cast<std::size_t>(request.ranges.candidates())};
}

// Ranks the candidates that are not `first` by their `scores`, behind those that are.
template <typename Order>
std::vector<std::int32_t> first_then(const RankRequest& request, const std::vector<std::uint32_t>& first, Order order) {
  const auto begin = static_cast<std::int32_t>(request.ranges.candidates_begin);
  std::vector<bool> taken(static_cast<std::size_t>(request.ranges.candidates()), false);
  std::vector<std::int32_t> ranked;
  ranked.reserve(taken.size());
  for (const std::uint32_t index : first) {
    taken[index] = true;
    ranked.push_back(begin + static_cast<std::int32_t>(index));
  }
  for (const std::uint32_t index : order()) {
    if (!taken[index]) ranked.push_back(begin + static_cast<std::int32_t>(index));
  }
  if (static_cast<Index>(ranked.size()) > request.ceiling) ranked.resize(static_cast<std::size_t>(request.ceiling));
  return ranked;
}

Index beyond_protection(Index positions, const PositionRanges& ranges) {
  return std::clamp<Index>(positions - ranges.protected_count(), 0, ranges.candidates());
}

class BudgetedSelector : public Selector {
 public:
  bool ranking_depends_on_budget() const override { return true; }
  Index prefix(std::span<const std::int32_t> ranked, const PositionRanges& /*ranges*/, Index slots) const override {
    return std::min(slots, static_cast<Index>(ranked.size()));
  }
};

struct TwoStageRule {
  double first_stage = 0.5;  // part of the budget that the first stage fills; 0..1
  double epsilon = 1e-4;
  bool own_budget = false;   // of the set's own budget (CriticalAdaKV) or of the capacity before allocation
  double floor_alpha = 0.0;  // the first stage takes at least this part of the capacity
};

class TwoStageSelector final : public BudgetedSelector {
 public:
  explicit TwoStageSelector(const TwoStageRule& rule) : rule_(rule) {}

  bool needs_refinement() const override { return true; }

  std::vector<std::int32_t> rank(const RankRequest& request) const override {
    const auto scores = candidates_of(*request.importance.scores, request);
    const auto weights = candidates_of(*request.importance.refinement, request);
    const auto first = core::top_ranked(scores, static_cast<std::size_t>(first_stage(request)));
    return first_then(request, first, [&] {
      std::vector<float> refined(scores.size());
      for (std::size_t j = 0; j < refined.size(); ++j) {
        refined[j] =
            static_cast<float>((static_cast<double>(scores[j]) + rule_.epsilon) * static_cast<double>(weights[j]));
      }
      return core::argsort_descending(refined);
    });
  }

 private:
  Index first_stage(const RankRequest& request) const {
    const PositionRanges& ranges = request.ranges;
    const double budget =
        rule_.own_budget ? static_cast<double>(request.slots + ranges.protected_count()) : request.capacity;
    const auto filled = static_cast<Index>(budget * rule_.first_stage);
    return beyond_protection(std::max(filled, guaranteed_positions(request.capacity, rule_.floor_alpha)), ranges);
  }

  TwoStageRule rule_;
};

class GuaranteedSelector final : public BudgetedSelector {
 public:
  explicit GuaranteedSelector(double floor_alpha) : floor_alpha_(floor_alpha) {}

  bool ranking_depends_on_own_budget() const override { return false; }

  std::vector<std::int32_t> rank(const RankRequest& request) const override {
    const auto scores = candidates_of(*request.importance.scores, request);
    const Index count = beyond_protection(guaranteed_positions(request.capacity, floor_alpha_), request.ranges);
    return first_then(request, core::top_ranked(scores, static_cast<std::size_t>(count)), [&] {
      const std::vector<float> reversed(scores.rbegin(), scores.rend());
      std::vector<std::uint32_t> order = core::argsort_descending(reversed);
      for (std::uint32_t& index : order) index = static_cast<std::uint32_t>(scores.size()) - 1 - index;
      return order;
    });
  }

 private:
  double floor_alpha_;
};

class RecentFirstSelector final : public BudgetedSelector {
 public:
  explicit RecentFirstSelector(double recent_part) : recent_part_(recent_part) {}

  std::vector<std::int32_t> rank(const RankRequest& request) const override {
    const PositionRanges& ranges = request.ranges;
    const auto budget = static_cast<double>(request.slots + ranges.protected_count());
    const Index also_recent = ranges.prompt_length - ranges.candidates_end;
    const Index recent =
        std::clamp<Index>(static_cast<Index>(budget * recent_part_) - also_recent, 0, ranges.candidates());
    std::vector<std::uint32_t> first(static_cast<std::size_t>(recent));
    for (Index i = 0; i < recent; ++i) {
      first[static_cast<std::size_t>(i)] = static_cast<std::uint32_t>(ranges.candidates() - recent + i);
    }
    return first_then(request, first,
                      [&] { return core::argsort_descending(candidates_of(*request.importance.scores, request)); });
  }

 private:
  double recent_part_;
};

}  // namespace

SelectorDefinition two_stage_selector() {
  ParameterList parameters;
  parameters.number("first_stage", 0.5, {0.0, 1.0}, "part of the budget that importance alone fills")
      .number("epsilon", 1e-4, {0.0, 1.0}, "added to the importance before it is multiplied by the norm");
  ParameterList settings;
  settings.choice("budget", {"capacity", "own"}, "of which the first stage is a part: before or after allocation")
      .number("floor_alpha", 0.0, {0.0, 1.0}, "part of the capacity that the first stage takes at least");
  return {.description = "half by score, the rest by score times the norm of the value's output (CriticalKV)",
          .parameters = parameters,
          .settings = settings,
          .make = [](const Parameters& given) {
            return std::make_unique<TwoStageSelector>(TwoStageRule{.first_stage = given.number("first_stage"),
                                                                   .epsilon = given.number("epsilon"),
                                                                   .own_budget = given.choice("budget") == "own",
                                                                   .floor_alpha = given.number("floor_alpha")});
          }};
}

SelectorDefinition guaranteed_selector() {
  ParameterList parameters;
  parameters.add(floor_alpha_parameter());
  return {.description = "the guaranteed positions first, of others with equal scores the higher (kvpress AdaKV)",
          .parameters = parameters,
          .offered = false,
          .make = [](const Parameters& given) {
            return std::make_unique<GuaranteedSelector>(given.number("floor_alpha"));
          }};
}

SelectorDefinition recent_first_selector() {
  ParameterList parameters;
  parameters.number("recent_part", 0.5, {0.0, 1.0}, "of the budget, for the last positions");
  return {.description = "the last positions first, then the best (the original H2O)",
          .parameters = parameters,
          .offered = false,
          .make = [](const Parameters& given) {
            return std::make_unique<RecentFirstSelector>(given.number("recent_part"));
          }};
}

}  // namespace evictlab::sim
