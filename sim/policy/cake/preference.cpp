// CAKE's division of the budget over layers (Qin et al. 2025, arXiv:2503.12491): in proportion to their preference P,
// computed from the entropy and temporal variance of the last w queries' attention. After layer m the layers 0..m share
// the whole model's budget, so each further layer shrinks those before it (cascading).
//
// As the authors' code rounds (antgroup/cakekv@c4675ce): with C positions per layer, p of them protected, L layers
//
//   T = (C - p) L      raw_l = P_l / (P_0 + ... + P_m) T      b = min(adjust(raw, T, cap), cap)     cap = candidates
//
// Its adjustment can give a layer more than at an earlier stage, though what it lost there is gone: then cascading
// ends with less than one cut of the same budgets would leave. A prompt of at most C + p positions is kept whole.
// Exact: the protected positions count in b_l, as in the paper, whose B_l is the top-k of an indicator that always
// holds the recent ones; the paper leaves rounding open, and D'Hondt's divisors spend the total exactly and never give
// a layer more when one is added, so cascading and one cut agree.
// Ours: layers without any preference (all P = 0, where the code divides by 0) share equally.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/policy/allocator.hpp"
#include "sim/policy/cake/formulas.hpp"
#include "sim/policy/common_parameters.hpp"

namespace evictlab::sim {
namespace {

struct PreferenceRule {
  Index window = 32;           // rows that preferences are computed from
  std::string model = "none";  // its published temperatures replace tau1 and tau2 of 0
  double tau1 = 0.0;           // 0: the model's
  double tau2 = 0.0;
  bool cascading = true;  // divides the budget after every layer; else once, after the last
  bool exact = false;     // D'Hondt's divisors over all slots; else the authors' rounding of what is not protected
};

struct SpreadStatistics final : LayerStatistics {
  explicit SpreadStatistics(const analysis::AttentionSpread& found) : spread(found) {}
  analysis::AttentionSpread spread;
};

class PreferenceAllocation final : public Allocation {
 public:
  PreferenceAllocation(const AllocationRequest& request, const PreferenceRule& rule) : request_(request), rule_(rule) {}

  Index ceiling(const LayerSummary& summary) const override {
    const PositionRanges& ranges = summary.ranges;
    if (!rule_.cascading || is_short(summary)) return ranges.visible();
    const Index capacity = request_.capacity(summary.layer.shape);
    return std::min(ranges.visible(), ranges.protected_count() + capacity * request_.layers);
  }

  std::span<const Index> observe(const LayerSummary& summary) override {
    const trace::LayerShape& shape = summary.layer.shape;
    const Index capacity = request_.capacity(shape);
    if (preferences_.empty()) {
      short_prompt_ = is_short(summary);
      choose_temperatures(capacity);
      kv_heads_ = shape.kv_heads;
      sets_ = set_count(request_.granularity, shape);
    }
    preferences_.push_back(preference_of(summary));
    protected_.push_back(summary.ranges.protected_count());
    candidates_.push_back(summary.ranges.candidates());
    visible_.push_back(summary.ranges.visible());
    capacity_ = capacity;
    lowest_.push_back(visible_.back());

    evicts_ = !short_prompt_ && (rule_.cascading || is_last());
    per_layer_.assign(preferences_.size(), capacity);
    if (evicts_) {
      per_layer_ = rule_.exact ? divisor_budgets(preferences_, capacity * request_.layers, protected_, visible_)
                               : adjusted_budgets();
      for (std::size_t l = 0; l < lowest_.size(); ++l) lowest_[l] = std::min(lowest_[l], per_layer_[l]);
    }
    budgets_.clear();
    for (const Index budget : per_layer_) budgets_.insert(budgets_.end(), static_cast<std::size_t>(sets_), budget);
    return budgets_;
  }

  std::span<const Index> finish() override { return budgets_; }
  bool evicts() const override { return evicts_; }

  std::vector<Note> notes() const override {
    std::vector<Note> notes;
    if (!temperature_note_.empty()) notes.push_back({temperature_note_});
    if (!evicts_ || rule_.exact) return notes;
    const Index recorded = std::accumulate(per_layer_.begin(), per_layer_.end(), Index{0});
    const Index stored = std::accumulate(lowest_.begin(), lowest_.end(), Index{0});
    const Index total = capacity_ * request_.layers;
    const Index possible = std::min(total, std::accumulate(visible_.begin(), visible_.end(), Index{0}));
    if (rule_.cascading && stored < recorded) {
      notes.push_back(
          {"budgets rose after positions were evicted, so that cascading stores less than it records and than one "
           "cut after the last layer would (variant=paper avoids it)",
           slots(recorded - stored)});
    }
    if (recorded < possible) {
      notes.push_back(
          {"part of the budget went to layers that cannot hold more, and is lost", slots(possible - recorded)});
    }
    return notes;
  }

 private:
  bool is_last() const { return static_cast<Index>(preferences_.size()) == request_.layers; }

  // The code compares the prompt with C + w, not with C.
  bool is_short(const LayerSummary& summary) const {
    if (rule_.exact) return false;
    if (!preferences_.empty()) return short_prompt_;
    const Index capacity = request_.capacity(summary.layer.shape);
    return summary.layer.shape.prompt_length <= capacity + summary.ranges.protected_count();
  }

  void choose_temperatures(Index capacity) {
    const auto published = cake_temperatures(rule_.model, capacity);
    temperatures_ = published.value_or(CakeTemperatures{});
    if (rule_.tau1 > 0.0) temperatures_.tau1 = rule_.tau1;
    if (rule_.tau2 > 0.0) temperatures_.tau2 = rule_.tau2;
    if (published || (rule_.tau1 > 0.0 && rule_.tau2 > 0.0)) return;
    temperature_note_ =
        rule_.model == "none"
            ? fmt::format("temperatures are tuned per model and none is named: tau1={}, tau2={}", temperatures_.tau1,
                          temperatures_.tau2)
            : fmt::format(
                  "no temperatures are published for {} at {} positions per layer (1024 and 128 are): tau1={}, "
                  "tau2={}, as the authors' code falls back to",
                  rule_.model, capacity, temperatures_.tau1, temperatures_.tau2);
  }

  double preference_of(const LayerSummary& summary) const {
    const auto* known = dynamic_cast<const SpreadStatistics*>(summary.statistics.get());
    const analysis::AttentionSpread spread =
        known != nullptr ? known->spread : cake_spread(summary.layer, rule_.window);
    const double preference = cake_preference(spread, temperatures_.tau1, temperatures_.tau2);
    if (std::isfinite(preference)) return preference;
    throw PolicyError(
        "the preference of layer {} is not finite (dispersion {}, shift {}, tau1={}, tau2={}); check what is recorded "
        "with evictlab verify, or raise tau1 and tau2",
        summary.layer.shape.layer, spread.dispersion, spread.shift, temperatures_.tau1, temperatures_.tau2);
  }

  // The authors', protected positions included. A layer to come is taken to protect as many as the latest.
  std::vector<Index> adjusted_budgets() const {
    const auto seen = static_cast<Index>(preferences_.size());
    const Index all_protected =
        std::accumulate(protected_.begin(), protected_.end(), Index{0}) + (request_.layers - seen) * protected_.back();
    const Index total = std::max<Index>(0, capacity_ * request_.layers - all_protected);
    const double sum = std::accumulate(preferences_.begin(), preferences_.end(), 0.0);
    std::vector<double> raw;
    for (const double preference : preferences_) {
      const double share = sum > 0.0 ? preference / sum : 1.0 / static_cast<double>(seen);
      raw.push_back(share * static_cast<double>(total));
    }
    std::vector<Index> budgets = cake_adjusted_budgets(raw, total, candidates_);
    for (std::size_t l = 0; l < budgets.size(); ++l) budgets[l] = std::min(budgets[l], candidates_[l]) + protected_[l];
    return budgets;
  }

  double slots(Index positions) const {
    return static_cast<double>(positions * sets_) / static_cast<double>(sets_ == 1 ? 1 : kv_heads_);
  }

  AllocationRequest request_;
  PreferenceRule rule_;
  CakeTemperatures temperatures_;
  std::string temperature_note_;
  Index capacity_ = 0;
  Index kv_heads_ = 1;
  Index sets_ = 1;
  bool short_prompt_ = false;
  bool evicts_ = false;
  std::vector<double> preferences_;                                           // by layer, as what follows
  std::vector<Index> protected_, candidates_, visible_, per_layer_, lowest_;  // positions per kept set
  std::vector<Index> budgets_;                                                // [layers so far * sets]
};

AllocatorTraits traits_of(const PreferenceRule& rule) {
  return {.needs = {trace::Field::kWindowAttention, rule.window, false},
          .revises = true,
          .compares_layers = true,
          .equal_layers = {"uniform"},
          .statistics = {fmt::format("spread(window={})", rule.window),
                         [window = rule.window](const LayerSummary& summary) {
                           return std::make_shared<const SpreadStatistics>(cake_spread(summary.layer, window));
                         }}};
}

}  // namespace

AllocatorDefinition preference_allocator() {
  std::vector<std::string> models = {"none"};
  for (std::string& model : cake_models()) models.push_back(std::move(model));
  ParameterList parameters;
  parameters.add(voting_window_parameter(32, 0))
      .number("tau1", 0.0, {0.0, 1e6}, "temperature of the dispersion; 0: the model's at this budget, or 1")
      .number("tau2", 0.0, {0.0, 1e6}, "temperature of the shift; 0: the model's at this budget, or 1")
      .choice("model", models, "whose published temperatures to use")
      .add(yes_no_parameter("cascading", true, "evict after every layer, or once after the last"))
      .add(exact_parameter());
  return {.description = "layers by attention entropy and temporal variance, cascading (CAKE)",
          .parameters = parameters,
          .make = [](const Parameters& given) {
            const PreferenceRule rule{.window = given.integer("window"),
                                      .model = given.choice("model"),
                                      .tau1 = given.number("tau1"),
                                      .tau2 = given.number("tau2"),
                                      .cascading = is_yes(given, "cascading"),
                                      .exact = is_yes(given, "exact")};
            return rule_allocator<PreferenceAllocation>(traits_of(rule), rule);
          }};
}

}  // namespace evictlab::sim
