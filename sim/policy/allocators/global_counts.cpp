// DynamicKV's division of the budget over layers (Zhou et al. 2024, arXiv:2412.14838, algorithm 1): after every
// `period` layers the best scores of all layers so far are taken together, and each layer gets its share of them. With
// base = capacity - protected, N sets and m candidates in each of the L layers, a layer first keeps
// bs = min(int(ratio_max base), m); then, after layer l with M = l + 1 layers seen,
//
//   count_i = how many of the base N M best of all scores are layer i's
//
// Then, in the authors' code (DreamMr/DynamicKV@8ab3c08), in whole numbers and float32:
//
//   count_i <- floor(count_i / M);   after the last layer, if sum count != N m: count_last += floor(base N M / L) - sum
//   x_i = int( float32(bs) * (float32(count_i) / float32(sum)) ),   ratio = sum x / (base L)
//   y_i = x_i // ratio,   y_last += base L - sum y
//
// It takes the first y_i of what a layer stores, which ends with the protected positions: given more than it has left,
// a layer stores some of these twice. Layers after the last update keep bs. In the paper's form
//
//   y_i = min( bs, m, what is left, floor(count_i / sum * base L) )
//
// after every `period` layers and the last. Where no score is selected, at which the code divides by zero, budgets
// stay.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/select.hpp"
#include "sim/policy/allocators/layer_share.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/pooled_ranking.hpp"

namespace evictlab::sim {
namespace {

struct GlobalCountsRule {
  double ratio_max = 10.0;  // a layer first keeps at most this times the mean budget
  Index period = 4;         // layers between two divisions
  bool bounded = false;     // the paper's form: no layer grows, and the last layer ends a period too
};

class GlobalCountsAllocation final : public Allocation {
 public:
  GlobalCountsAllocation(const AllocationRequest& request, const GlobalCountsRule& rule)
      : request_(request), rule_(rule) {}

  Index ceiling(const LayerSummary& summary) const override {
    return summary.ranges.protected_count() + first_budget(summary);
  }

  std::span<const Index> observe(const LayerSummary& summary) override {
    const PositionRanges& ranges = summary.ranges;
    sets_ = summary.importance.scores->rows();
    base_ = base(summary);
    first_ = first_budget(summary);
    protected_.push_back(ranges.protected_count());
    per_layer_.push_back(first_);
    remember(summary);
    const auto seen = static_cast<Index>(scores_.size());
    const bool last = seen == request_.layers;
    evicts_ = seen % rule_.period == 0 || (rule_.bounded && last);
    if (evicts_) update(last);
    budgets_.clear();
    for (std::size_t l = 0; l < per_layer_.size(); ++l) {
      budgets_.insert(budgets_.end(), static_cast<std::size_t>(sets_), per_layer_[l] + protected_[l]);
    }
    return budgets_;
  }

  std::span<const Index> finish() override {
    evicts_ = false;
    return budgets_;
  }
  // Between two divisions nothing is cut: cutting again would repeat more positions.
  bool evicts() const override { return evicts_; }
  // What is stored ends with the protected positions, and the code takes its first entries, as many as it is given.
  Index repeats(Index missing, Index recent) const override { return rule_.bounded ? 0 : std::min(missing, recent); }

  std::vector<Note> notes() const override {
    const Index tail = request_.layers % rule_.period;
    if (rule_.bounded || tail == 0) return {};
    return {{fmt::format(
        "the last {} of {} layers come after the last update and keep their first budget, beyond the total "
        "(variant=paper updates after the last layer too)",
        tail, request_.layers)}};
  }

 private:
  Index base(const LayerSummary& summary) const {
    return std::max<Index>(0, request_.capacity(summary.layer.shape) - summary.ranges.protected_count());
  }
  Index first_budget(const LayerSummary& summary) const {
    const auto most = static_cast<Index>(rule_.ratio_max * static_cast<double>(base(summary)));
    return std::min(most, summary.ranges.candidates());
  }

  // Its best scores: as many as later updates can ask for.
  void remember(const LayerSummary& summary) {
    const auto competition = pooled_ranking_of(summary, TieOrder::kLowerFirst);
    const Index wanted = std::min(base_ * sets_ * request_.layers, competition->candidates());
    scores_.push_back({competition->scores(wanted), static_cast<std::size_t>(wanted), competition->candidates()});
  }

  void update(bool last) {
    const auto seen = static_cast<Index>(scores_.size());
    std::vector<std::span<const float>> best;
    for (const LayerScores& layer : scores_) best.push_back(std::span(*layer.best).first(layer.wanted));
    std::vector<Index> counts = core::counts_of_largest(best, base_ * sets_ * seen);
    if (rule_.bounded) {
      divide_bounded(counts);
      return;
    }
    for (Index& count : counts) count /= seen;
    Index sum = std::accumulate(counts.begin(), counts.end(), Index{0});
    if (last && sum != scores_.back().count) {
      counts.back() += base_ * sets_ * seen / request_.layers - sum;
      sum = std::accumulate(counts.begin(), counts.end(), Index{0});
    }
    std::vector<Index> parts;
    for (const Index count : counts) {
      const float share = static_cast<float>(count) / static_cast<float>(sum);
      parts.push_back(sum > 0 ? static_cast<Index>(static_cast<float>(first_) * share) : 0);
    }
    const Index need = base_ * request_.layers;
    const double ratio =
        static_cast<double>(std::accumulate(parts.begin(), parts.end(), Index{0})) / static_cast<double>(need);
    if (need <= 0 || ratio <= 0.0) return;
    for (std::size_t l = 0; l < parts.size(); ++l) {
      per_layer_[l] = static_cast<Index>(floor_division(static_cast<double>(parts[l]), ratio));
    }
    const Index given = std::accumulate(per_layer_.begin(), per_layer_.end(), Index{0});
    per_layer_.back() = std::max<Index>(0, per_layer_.back() + need - given);
  }

  void divide_bounded(const std::vector<Index>& counts) {
    const Index sum = std::accumulate(counts.begin(), counts.end(), Index{0});
    if (sum == 0) return;
    const double total = static_cast<double>(base_ * request_.layers);
    for (std::size_t l = 0; l < counts.size(); ++l) {
      const auto share =
          static_cast<Index>(std::floor(static_cast<double>(counts[l]) / static_cast<double>(sum) * total));
      per_layer_[l] = std::min(per_layer_[l], share);  // begins with min(bs, m) and never grows
    }
  }

  struct LayerScores {
    std::shared_ptr<const std::vector<float>> best;  // falling; shared with other budgets
    std::size_t wanted = 0;                          // the first so many are looked at
    Index count = 0;                                 // all there were
  };

  AllocationRequest request_;
  GlobalCountsRule rule_;
  Index sets_ = 1;
  Index base_ = 0;
  Index first_ = 0;
  bool evicts_ = false;
  std::vector<LayerScores> scores_;           // by layer, as what follows
  std::vector<Index> protected_, per_layer_;  // positions per kept set
  std::vector<Index> budgets_;                // [layers so far * sets]
};

}  // namespace

AllocatorDefinition global_counts_allocator() {
  ParameterList parameters;
  parameters
      .add({"ratio_max", 10.0, NumberRange{0.01, 1e6}, "most of the mean budget that a layer first keeps", "radio_max"})
      .integer("period", 4, {1, kMaxPositions}, "layers between two divisions of the budget")
      .add(exact_parameter());
  return {.description = "layers compete for one budget, renewed every few layers (DynamicKV)",
          .parameters = parameters,
          .make = [](const Parameters& given) {
            return rule_allocator<GlobalCountsAllocation>(
                {.reads_scores = true,
                 .revises = true,
                 .least_free = 1,
                 .compares_layers = true,
                 .equal_layers = {"uniform"},
                 .statistics = pooled_ranking_statistics(TieOrder::kLowerFirst)},
                GlobalCountsRule{.ratio_max = given.number("ratio_max"),
                                 .period = given.integer("period"),
                                 .bounded = is_yes(given, "exact")});
          }};
}

}  // namespace evictlab::sim
