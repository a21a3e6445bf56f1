#include "sim/policy/fitted.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "analysis/allocation.hpp"
#include "core/select.hpp"
#include "sim/policy/independent_allocation.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

/// Puts every head's positions in its order of holding: what a score says beyond the order is of no use to heads with
/// different scorers.
class FittedScorer final : public Scorer {
 public:
  explicit FittedScorer(std::shared_ptr<const FittedPolicy> fitted) : fitted_(std::move(fitted)) {
    for (const std::string& text : fitted_->scorers) {
      scorers_.push_back(fittable_scorer(text));
      const Needs own = scorers_.back()->needs();
      needs_.fields |= own.fields;
      needs_.window_rows = std::max(needs_.window_rows, own.window_rows);
      needs_.output_weight = needs_.output_weight || own.output_weight;
    }
  }

  Needs needs() const override { return needs_; }
  Granularity granularity() const override { return Granularity::kKvHead; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const auto& heads = fitted_->heads.at(static_cast<std::size_t>(layer.shape.layer));
    std::vector<std::optional<trace::RowMatrix>> raw(scorers_.size());
    for (std::size_t g = 0; g < heads.size(); ++g) {
      const FittedHead& head = heads[g];
      std::optional<trace::RowMatrix>& own = raw[head.scorer];
      if (!own) own = kv_head_scores(*scorers_[head.scorer], layer);
      const auto row = static_cast<Index>(g);
      const std::span given(own->row(row).data(), static_cast<std::size_t>(own->cols()));
      float rank = static_cast<float>(layer.shape.prompt_length);
      for (const std::int32_t position : holding_order(given, {layer.shape, head.protection})) {
        scores(row, position) = rank--;
      }
    }
  }

 private:
  std::shared_ptr<const FittedPolicy> fitted_;
  std::vector<std::shared_ptr<const Scorer>> scorers_;
  Needs needs_;
};

/// Divides the whole budget when the first layer shows how long the prompt is.
class FittedAllocation final : public IndependentAllocation {
 public:
  FittedAllocation(const AllocationRequest& request, std::shared_ptr<const FittedPolicy> fitted)
      : request_(request), fitted_(std::move(fitted)) {}

  std::vector<Note> notes() const override {
    const FitProvenance& fit = fitted_->provenance;
    if (length_ >= fit.shortest && length_ <= fit.longest) return {};
    return {{fmt::format("fitted on prompts of {} to {} positions; this one is outside", fit.shortest, fit.longest)}};
  }

 private:
  std::vector<Index> positions(const LayerSummary& summary) const override {
    const trace::LayerShape& shape = summary.layer.shape;
    if (budgets_.empty()) {
      length_ = shape.prompt_length;
      budgets_ = fitted_budgets(*fitted_, length_, request_.slots);
    }
    const auto first = budgets_.begin() + static_cast<std::ptrdiff_t>(shape.layer * shape.kv_heads);
    return {first, first + static_cast<std::ptrdiff_t>(shape.kv_heads)};
  }

  AllocationRequest request_;
  std::shared_ptr<const FittedPolicy> fitted_;
  // A prompt's layers come one after the other, each from one thread.
  mutable Index length_ = 0;
  mutable std::vector<Index> budgets_;  // [L * G]
};

// Whole numbers nearest to (1 - w) a + w b with the sum of a, each in 1..most: what rounding leaves goes to the largest
// fractions, then to whoever has room.
std::vector<Index> mixed(const std::vector<Index>& a, const std::vector<Index>& b, double w,
                         const std::vector<Index>& most) {
  std::vector<Index> counts;
  std::vector<double> fractions;
  Index left = std::accumulate(a.begin(), a.end(), Index{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double real = (1.0 - w) * static_cast<double>(a[i]) + w * static_cast<double>(b[i]);
    counts.push_back(std::clamp(static_cast<Index>(std::floor(real)), std::min(Index{1}, most[i]), most[i]));
    fractions.push_back(real - std::floor(real));
    left -= counts.back();
  }
  std::vector<std::size_t> order(a.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::ranges::greater{}, [&](std::size_t i) { return fractions[i]; });
  for (bool moved = true; left != 0 && moved;) {
    moved = false;
    for (const std::size_t i : order) {
      const Index step = left > 0 ? 1 : -1;
      if (left == 0 || counts[i] + step > most[i] || counts[i] + step < std::min(Index{1}, most[i])) continue;
      counts[i] += step;
      left -= step;
      moved = true;
    }
  }
  return counts;
}

// Equal counts of the sum `total`; what one cannot hold goes to the others.
std::vector<Index> equal_counts(const std::vector<Index>& most, Index total) {
  std::vector<std::size_t> order(most.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return most[i]; });
  std::vector<Index> counts(most.size(), 0);
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto others = static_cast<Index>(order.size() - i);
    counts[order[i]] = std::min(most[order[i]], total / others + (total % others == 0 || others == 1 ? 0 : 1));
    total -= counts[order[i]];
  }
  return counts;
}

}  // namespace

std::string_view axis_name(CurveAxis axis) { return axis == CurveAxis::kCount ? "count" : "share"; }
std::string_view fitted_unit_name(FittedUnit unit) { return unit == FittedUnit::kHead ? "head" : "layer"; }

Index FittedPolicy::visible(Index layer, Index prompt_length) const {
  const trace::LayerShape shape{.prompt_length = prompt_length,
                                .sliding_window = sliding_windows.at(static_cast<std::size_t>(layer))};
  return prompt_length - shape.first_visible();
}

double curve_value(std::span<const double> points, CurveAxis axis, std::span<const double> losses, Index visible,
                   double count) {
  const auto all = static_cast<double>(visible);
  if (count >= all) return 0.0;
  return axis == CurveAxis::kCount ? interpolated_loss(points, losses, count, all)
                                   : interpolated_loss(points, losses, count / all, 1.0);
}

std::vector<Index> divided(const std::vector<std::vector<double>>& losses, Index total, double uniform_weight) {
  std::vector<analysis::ConcaveHull> hulls;
  std::vector<std::vector<double>> gains;
  std::vector<Index> most;
  Index all = 0;
  for (const std::vector<double>& curve : losses) {
    std::vector<double>& gain = gains.emplace_back();
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t count = 0; count < curve.size(); ++count) {
      least = std::min(least, curve[std::min(std::max<std::size_t>(count, 1), curve.size() - 1)]);
      gain.push_back(-least);
    }
    hulls.emplace_back(gain, std::min<Index>(1, std::ssize(curve) - 1));
    most.push_back(std::ssize(curve) - 1);
    all += most.back();
  }
  const auto least_total = std::ranges::count_if(most, [](Index count) { return count > 0; });
  total = std::clamp(total, static_cast<Index>(least_total), all);
  const auto value_of = [&](std::size_t unit, Index count) { return gains[unit][static_cast<std::size_t>(count)]; };
  const std::vector<Index> best = analysis::best_allocation(hulls, value_of, total).counts;
  return uniform_weight > 0.0 ? mixed(best, equal_counts(most, total), uniform_weight, most) : best;
}

std::vector<Index> fitted_budgets(const FittedPolicy& fitted, Index prompt_length, double slots) {
  const bool per_layer = fitted.per == FittedUnit::kLayer;
  const Index heads = fitted.kv_heads();
  const Index members = per_layer ? heads : 1;  // kv heads of a unit
  std::vector<std::vector<double>> losses;
  std::vector<Index> visible;  // of every unit
  for (Index layer = 0; layer < fitted.layers(); ++layer) {
    const Index positions = fitted.visible(layer, prompt_length);
    const Index steps = (positions + fitted.block - 1) / fitted.block;
    for (Index first = 0; first < heads; first += members) {
      std::vector<double>& curve = losses.emplace_back(static_cast<std::size_t>(steps) + 1, 0.0);
      visible.push_back(positions);
      for (Index step = 0; step <= steps; ++step) {
        const auto count = static_cast<double>(std::min(positions, step * fitted.block));
        for (Index g = first; g < first + members; ++g) {
          const FittedHead& head = fitted.heads[static_cast<std::size_t>(layer)][static_cast<std::size_t>(g)];
          curve[static_cast<std::size_t>(step)] +=
              curve_value(fitted.points, fitted.axis, head.losses, positions, count);
        }
      }
    }
  }
  const Index total = static_cast<Index>(slots) * fitted.layers() * heads / (members * fitted.block);
  const std::vector<Index> steps = divided(losses, total, fitted.uniform_weight);
  std::vector<Index> budgets;
  for (std::size_t unit = 0; unit < steps.size(); ++unit) {
    budgets.insert(budgets.end(), static_cast<std::size_t>(members),
                   std::min(visible[unit], steps[unit] * fitted.block));
  }
  return budgets;
}

std::vector<std::int32_t> holding_order(std::span<const float> scores, const PositionRanges& ranges) {
  std::vector<std::int32_t> order;
  order.reserve(static_cast<std::size_t>(ranges.visible()));
  for (Index j = ranges.first_visible; j < ranges.candidates_begin; ++j) order.push_back(static_cast<std::int32_t>(j));
  for (Index j = ranges.prompt_length; j-- > ranges.candidates_end;) order.push_back(static_cast<std::int32_t>(j));
  const auto candidates = static_cast<std::size_t>(ranges.candidates());
  const std::span own = scores.subspan(static_cast<std::size_t>(ranges.candidates_begin), candidates);
  for (const std::uint32_t index : core::top_ranked(own, candidates)) {
    order.push_back(static_cast<std::int32_t>(ranges.candidates_begin + index));
  }
  return order;
}

trace::RowMatrix kv_head_scores(const Scorer& scorer, const trace::LayerView& layer) {
  const Index heads = layer.shape.kv_heads;
  const Index sets = set_count(scorer.granularity(), layer.shape);
  trace::RowMatrix own =
      trace::RowMatrix::Constant(sets, layer.shape.prompt_length, std::numeric_limits<float>::quiet_NaN());
  scorer.score(layer, own);
  if (sets == heads) return own;
  trace::RowMatrix scores(heads, own.cols());
  for (Index g = 0; g < heads; ++g) {
    if (sets < heads) {
      scores.row(g) = own.row(g * sets / heads);
    } else {
      const Index together = sets / heads;
      scores.row(g) = own.middleRows(g * together, together).cast<double>().colwise().mean().cast<float>();
    }
  }
  return scores;
}

std::shared_ptr<const Scorer> fittable_scorer(std::string_view policy) {
  const PolicySpec spec = parse_policy(policy);
  // Before it is made: a file may name itself.
  if (find_policy(spec.name).definition.from_file) {
    throw ImpossiblePolicy("policy '{}' is fitted already and has no scorer of its own", spec.name);
  }
  const Policy made = make_policy(spec);
  if (!made.scorer) throw ImpossiblePolicy("policy '{}' has no scorer that heads could rank by", made.label());
  if (made.scorer->needs().future) {
    throw ImpossiblePolicy("policy '{}' reads the future, which a fitted policy never sees", made.label());
  }
  return made.scorer;
}

Policy make_fitted(std::shared_ptr<const FittedPolicy> fitted, bool any_model) {
  Policy policy;
  auto scorer = std::make_shared<FittedScorer>(fitted);
  scorer->set_identity("fitted " + fitted->digest);
  policy.scorer = std::move(scorer);
  // Budgets depend on the length alone, but divide one total over all layers: layers that were not recorded have
  // theirs.
  auto allocator = rule_allocator<FittedAllocation>(
      // A head holds one block at least.
      {.least_free = fitted->block,
       .equal_layers = {"uniform"},
       .protection = Protection{},
       .budgets_per = Granularity::kKvHead},
      std::shared_ptr<const FittedPolicy>(fitted));
  allocator->set_identity("fitted " + fitted->digest);
  policy.allocator = std::move(allocator);
  policy.selector = make_selector({"top"});
  policy.fitted_to = {.digest = fitted->digest,
                      .fingerprint = any_model ? "" : fitted->model_fingerprint,
                      .name = fitted->model,
                      .layers = fitted->layers(),
                      .kv_heads = fitted->kv_heads(),
                      .sliding_windows = fitted->sliding_windows};
  return policy;
}

}  // namespace evictlab::sim
