#include "sim/eviction.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace evictlab::sim {
namespace {

void check_layer(const Policy& policy, const trace::LayerView& layer) {
  const Needs needs = policy.scorer->needs();
  if (needs.window_rows > layer.window_attention.rows() && needs.window_rows > 0) {
    throw PolicyError("policy '{}' reads the last {} prompt queries; layer {} gives {}", policy.name, needs.window_rows,
                      layer.shape.layer, layer.window_attention.rows());
  }
  if (needs.future && layer.future == nullptr) {
    throw PolicyError("policy '{}' reads the future queries; layer {} has none", policy.name, layer.shape.layer);
  }
}

}  // namespace

Importance score_layer(const Policy& policy, const trace::LayerView& layer) {
  Importance importance{{}, policy.protection};
  if (!policy.scorer) return importance;
  check_layer(policy, layer);
  const Index sets = set_count(policy.granularity, layer.shape);
  importance.scores =
      trace::RowMatrix::Constant(sets, layer.shape.prompt_length, std::numeric_limits<float>::quiet_NaN());
  policy.scorer->score(layer, importance.scores);
  const PositionRanges ranges(layer.shape, policy.protection);
  const auto candidates = importance.scores.middleCols(ranges.candidates_begin, ranges.candidates());
  if (importance.scores.rows() != sets || !candidates.array().isFinite().all()) {
    throw PolicyError("{}: the scores of layer {} are not finite; check what is recorded with evictlab verify",
                      policy.label(), layer.shape.layer);
  }
  return importance;
}

Ranking rank_layer(const Policy& policy, const trace::LayerShape& shape, const Importance& importance, Index ceiling) {
  const PositionRanges ranges(shape, policy.protection);
  Ranking ranking;
  for (Index set = 0; set < set_count(policy.granularity, shape); ++set) {
    ranking.order.push_back(policy.selector->rank(ranges, importance, set, ceiling, ceiling));
  }
  return ranking;
}

Eviction::Eviction(const Policy& policy, Index layers, Index slots)
    : policy_(policy),
      layers_(layers),
      allocation_(policy.allocator->begin({layers, slots, policy.granularity, policy.protection})) {}

Index Eviction::ceiling(const trace::LayerView& layer, const Importance& importance) const {
  const PositionRanges ranges(layer.shape, policy_.protection);
  const Index most = allocation_->ceiling({layer, importance, ranges});
  return std::clamp<Index>(most - ranges.protected_count(), 0, ranges.candidates());
}

void Eviction::observe(const trace::LayerView& layer) { observe(layer, score_layer(policy_, layer), nullptr); }

void Eviction::observe(const trace::LayerView& layer, const Importance& importance, const Ranking* ranking) {
  if (static_cast<Index>(held_.size()) == layers_) throw std::logic_error("more layers than were announced");
  const Index most = ceiling(layer, importance);
  const auto sets = static_cast<std::size_t>(set_count(policy_.granularity, layer.shape));
  const PositionRanges ranges(layer.shape, policy_.protection);
  const auto budgets = allocation_->observe({layer, importance, ranges});
  const auto own = budgets.last(sets);
  for (std::size_t set = 0; set < sets; ++set) {
    if (own[set] >= ranges.protected_count() || policy_.allocator->ignores_budget()) continue;
    throw PolicyError("policy '{}' protects {} positions of layer {}, more than the {} its budget leaves a kept set",
                      policy_.name, ranges.protected_count(), layer.shape.layer, own[set]);
  }

  Held held{layer.shape, ranges, {}, {}};
  held.ranked.resize(sets);
  held.budgets.resize(sets);
  for (std::size_t set = 0; set < sets; ++set) {
    if (ranking != nullptr) {
      const auto& order = ranking->order[set];
      const auto depth = std::min<std::size_t>(order.size(), static_cast<std::size_t>(most));
      held.ranked[set].assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(depth));
    } else {
      const Index slots = std::max<Index>(0, own[set] - ranges.protected_count());
      held.ranked[set] = policy_.selector->rank(ranges, importance, static_cast<Index>(set), most, slots);
    }
  }
  held_.push_back(std::move(held));
  apply(budgets);
}

// Cuts every layer down to its budget of now. What was cut before does not come back.
void Eviction::apply(std::span<const Index> budgets) {
  std::size_t first = 0;
  for (Held& held : held_) {
    for (std::size_t set = 0; set < held.ranked.size(); ++set) {
      held.budgets[set] = budgets[first + set];
      auto& ranked = held.ranked[set];
      const Index slots = std::max<Index>(0, held.budgets[set] - held.ranges.protected_count());
      const auto keep = static_cast<std::size_t>(policy_.selector->prefix(ranked, slots));
      if (keep < ranked.size()) ranked.resize(keep);
    }
    first += held.ranked.size();
  }
  if (first != budgets.size()) throw std::logic_error("an allocator must give budgets for every layer observed");
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
    if (static_cast<Index>(ranked.size()) == ranges.candidates()) {
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
  return kept;
}

double Eviction::held_slots() const {
  double slots = 0.0;
  for (const Held& held : held_) {
    Index positions = 0;
    for (const auto& ranked : held.ranked) {
      positions += held.ranges.protected_count() + static_cast<Index>(ranked.size());
    }
    slots += stored_slots(policy_.granularity, held.shape, positions);
  }
  return slots;
}

Retention Eviction::finish() {
  if (static_cast<Index>(held_.size()) != layers_) throw std::logic_error("fewer layers than were announced");
  apply(allocation_->finish());
  Retention retention{policy_.granularity, {}};
  for (std::size_t index = 0; index < held_.size(); ++index) retention.layers.push_back(layer(index));
  return retention;
}

Retention evict(const Policy& policy, std::span<const trace::LayerView> layers, Index slots) {
  Eviction eviction(policy, static_cast<Index>(layers.size()), slots);
  for (const trace::LayerView& layer : layers) eviction.observe(layer);
  return eviction.finish();
}

}  // namespace evictlab::sim
