#include "sim/eviction.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace evictlab::sim {
namespace {

void check_layer(const Policy& policy, const Needs& needs, const trace::LayerView& layer) {
  if (needs.window_rows > layer.window_attention.rows() && needs.window_rows > 0) {
    throw PolicyError("policy '{}' reads the last {} prompt queries; layer {} gives {}", policy.name, needs.window_rows,
                      layer.shape.layer, layer.window_attention.rows());
  }
  if (needs.future && layer.future == nullptr) {
    throw PolicyError("policy '{}' reads the future queries; layer {} has none", policy.name, layer.shape.layer);
  }
}

// What a policy's scorer says, with every candidate scored.
trace::RowMatrix scores_of(const Policy& policy, const std::shared_ptr<const Scorer>& scorer,
                           const trace::LayerView& layer, const KnownScores& known) {
  if (!scorer) return {};
  check_layer(policy, scorer->needs(), layer);
  const auto found = known.find(scorer_key(*scorer));
  trace::RowMatrix scores = found != known.end() ? found->second : raw_scores(*scorer, layer);
  const PositionRanges ranges = policy.ranges(layer.shape);
  const auto candidates = scores.middleCols(ranges.candidates_begin, ranges.candidates());
  if (scores.rows() != set_count(policy.granularity, layer.shape) || !candidates.array().isFinite().all()) {
    throw PolicyError("{}: the scores of layer {} are not finite; check what is recorded with evictlab verify",
                      policy.label(), layer.shape.layer);
  }
  return scores;
}

}  // namespace

std::string scorer_key(const Scorer& scorer) {
  return fmt::format("{}|{}", scorer.identity(), granularity_name(scorer.granularity()));
}

trace::RowMatrix raw_scores(const Scorer& scorer, const trace::LayerView& layer) {
  trace::RowMatrix scores = trace::RowMatrix::Constant(
      set_count(scorer.granularity(), layer.shape), layer.shape.prompt_length, std::numeric_limits<float>::quiet_NaN());
  scorer.score(layer, scores);
  return scores;
}

Importance score_layer(const Policy& policy, const trace::LayerView& layer, const KnownScores& known) {
  check_layer(policy, policy.allocator->needs(), layer);
  return {scores_of(policy, policy.scorer, layer, known), scores_of(policy, policy.refiner, layer, known),
          policy.allocator->measure(layer)};
}

Ranking rank_layer(const Policy& policy, const trace::LayerShape& shape, const Importance& importance, Index ceiling) {
  const PositionRanges ranges = policy.ranges(shape);
  Ranking ranking;
  for (Index set = 0; set < set_count(policy.granularity, shape); ++set) {
    ranking.order.push_back(policy.selector->rank({ranges, importance, set, ceiling}));
  }
  return ranking;
}

Eviction::Eviction(const Policy& policy, Index layers, double slots)
    : policy_(policy), request_(policy.request(layers, slots)), allocation_(policy.allocator->begin(request_)) {}

Index Eviction::ceiling(const trace::LayerView& layer, const Importance& importance) const {
  const PositionRanges ranges = policy_.ranges(layer.shape);
  if (policy_.selector->block() > 1) return ranges.candidates();
  const Index most = allocation_->ceiling({layer, importance, ranges});
  return std::clamp<Index>(most - ranges.protected_count(), 0, ranges.candidates());
}

void Eviction::observe(const trace::LayerView& layer) { observe(layer, score_layer(policy_, layer), nullptr); }

void Eviction::observe(const trace::LayerView& layer, const Importance& importance, const Ranking* ranking) {
  if (static_cast<Index>(held_.size()) == request_.layers) throw std::logic_error("more layers than were announced");
  if (!is_feasible(policy_, layer.shape, request_.slots)) {
    const Index least = policy_.allocator->least_capacity(policy_.ranges(layer.shape).protected_count());
    throw PolicyError("policy '{}' needs {} positions per kept set of layer {}, more than its budget gives ({})",
                      policy_.name, least, layer.shape.layer, request_.capacity(layer.shape));
  }
  const Index most = ceiling(layer, importance);
  const auto sets = static_cast<std::size_t>(set_count(policy_.granularity, layer.shape));
  const PositionRanges ranges = policy_.ranges(layer.shape);
  const auto budgets = allocation_->observe({layer, importance, ranges});
  const auto own = budgets.last(sets);
  for (std::size_t set = 0; set < sets; ++set) {
    if (own[set] >= ranges.protected_count() || policy_.allocator->ignores_budget()) continue;
    throw PolicyError("policy '{}' protects {} positions of layer {}, more than the {} its budget leaves a kept set",
                      policy_.name, ranges.protected_count(), layer.shape.layer, own[set]);
  }

  Held held{.shape = layer.shape, .ranges = ranges, .ranked = {}, .budgets = {own.begin(), own.end()}, .counts = {}};
  held.ranked.resize(sets);
  held.counts.resize(sets);
  const Index sharing = policy_.selector->layers_sharing(request_.layers);
  const bool keeps_all = std::all_of(own.begin(), own.end(), [&](Index budget) { return budget >= ranges.visible(); });
  held.shared = sharing > 1 && static_cast<Index>(held_.size()) % sharing != 0 && !keeps_all;
  if (held.shared) {
    // Without a selection to share (no layer has made one yet) only what is protected is left.
    for (std::size_t set = 0; set < sets && !selection_.empty(); ++set) {
      // A layer with a sliding window, or fewer protected positions, can hold only a part of it.
      std::copy_if(
          selection_[set].begin(), selection_[set].end(), std::back_inserter(held.ranked[set]),
          [&](Index position) { return position >= ranges.candidates_begin && position < ranges.candidates_end; });
    }
  } else {
    rank(importance, ranking, most, held);
  }
  held_.push_back(std::move(held));
  apply(budgets);
  if (sharing > 1 && !held_.back().shared && !keeps_all) share_selection();
}

void Eviction::rank(const Importance& importance, const Ranking* ranking, Index most, Held& held) const {
  for (std::size_t set = 0; set < held.ranked.size(); ++set) {
    if (ranking != nullptr) {
      const auto& order = ranking->order[set];
      const auto depth = std::min<std::size_t>(order.size(), static_cast<std::size_t>(most));
      held.ranked[set].assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(depth));
      continue;
    }
    const Index slots = std::max<Index>(0, held.budgets[set] - held.ranges.protected_count());
    held.ranked[set] = policy_.selector->rank({.ranges = held.ranges,
                                               .importance = importance,
                                               .set = static_cast<Index>(set),
                                               .ceiling = most,
                                               .slots = slots,
                                               .capacity = request_.real_capacity(held.shape)});
  }
}

// Cuts every layer down to its budget of now. What was cut before does not come back.
void Eviction::apply(std::span<const Index> budgets) {
  std::size_t first = 0;
  for (Held& held : held_) {
    if (first + held.ranked.size() > budgets.size()) break;
    held.budgets.assign(budgets.begin() + static_cast<std::ptrdiff_t>(first),
                        budgets.begin() + static_cast<std::ptrdiff_t>(first + held.ranked.size()));
    if (!held.taken) cut(held);
    first += held.ranked.size();
  }
  if (first != budgets.size()) throw std::logic_error("an allocator must give budgets for every layer observed");
}

void Eviction::cut(Held& held) const {
  const PositionRanges& ranges = held.ranges;
  for (std::size_t set = 0; set < held.ranked.size(); ++set) {
    auto& ranked = held.ranked[set];
    const Index slots = std::clamp<Index>(held.budgets[set] - ranges.protected_count(), 0, ranges.candidates());
    const auto held_now = static_cast<Index>(ranked.size());
    if (!allocation_->evicts()) {
      held.counts[set] = ranges.protected_count() + held_now;
      continue;
    }
    if (policy_.allocator->repeats_recent() && slots > held_now && held_now < ranges.candidates()) {
      // What is stored ends with the protected positions, and the code takes its first `slots` entries.
      const Index repeated = std::min(slots - held_now, ranges.prompt_length - ranges.candidates_end);
      for (Index i = 0; i < repeated; ++i) ranked.push_back(static_cast<std::int32_t>(ranges.candidates_end + i));
      held.repeated = held.repeated || repeated > 0;
    } else if (!held.shared) {
      const auto keep = static_cast<std::size_t>(policy_.selector->prefix(ranked, ranges, slots));
      if (keep < ranked.size()) ranked.resize(keep);
    }
    held.counts[set] = ranges.protected_count() + static_cast<Index>(ranked.size());
  }
}

void Eviction::share_selection() {
  const auto& ranked = held_.back().ranked;
  const bool selects = std::any_of(ranked.begin(), ranked.end(), [](const auto& set) { return !set.empty(); });
  if (selects || !policy_.selector->leaves_older_selection()) selection_ = ranked;
}

LayerRetention Eviction::layer(std::size_t index) const {
  const Held& held = held_.at(index);
  const PositionRanges& ranges = held.ranges;
  LayerRetention kept;
  kept.layer = held.shape.layer;
  kept.offsets.push_back(0);
  const auto append_range = [&](Index begin, Index end) {
    for (Index position = begin; position < end; ++position) {
      kept.positions.push_back(static_cast<std::int32_t>(position));
    }
  };
  for (std::size_t set = 0; set < held.ranked.size(); ++set) {
    const auto& ranked = held.ranked[set];
    if (static_cast<Index>(ranked.size()) == ranges.candidates() && !held.repeated) {
      append_range(ranges.first_visible, ranges.prompt_length);
    } else {
      append_range(ranges.first_visible, ranges.candidates_begin);
      kept.positions.insert(kept.positions.end(), ranked.begin(), ranked.end());
      append_range(ranges.candidates_end, ranges.prompt_length);
    }
    kept.offsets.push_back(static_cast<std::int64_t>(kept.positions.size()));
    kept.budgets.push_back(static_cast<std::int32_t>(held.budgets[set]));
  }
  return kept;
}

LayerRetention Eviction::take_layer(std::size_t index) {
  if (policy_.allocator->revises()) throw std::logic_error("a layer was taken that may still be revised");
  LayerRetention kept = layer(index);
  for (auto& ranked : held_[index].ranked) ranked = {};
  held_[index].taken = true;
  return kept;
}

double Eviction::held_slots() const {
  double slots = 0.0;
  for (const Held& held : held_) {
    slots += stored_slots(policy_.granularity, held.shape,
                          std::accumulate(held.counts.begin(), held.counts.end(), Index{0}));
  }
  return slots;
}

Retention Eviction::finish() {
  if (static_cast<Index>(held_.size()) != request_.layers) throw std::logic_error("fewer layers than were announced");
  apply(allocation_->finish());
  Retention retention{policy_.granularity, {}};
  for (std::size_t index = 0; index < held_.size(); ++index) retention.layers.push_back(layer(index));
  return retention;
}

Retention evict(const Policy& policy, std::span<const trace::LayerView> layers, double slots) {
  Eviction eviction(policy, static_cast<Index>(layers.size()), slots);
  for (const trace::LayerView& layer : layers) eviction.observe(layer);
  return eviction.finish();
}

}  // namespace evictlab::sim
