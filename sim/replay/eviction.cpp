#include "sim/replay/eviction.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>
#include <stdexcept>

#include "core/parallel.hpp"

namespace evictlab::sim {
namespace {

void check_layer(const Policy& policy, const Needs& needs, const trace::LayerView& layer) {
  const bool reads_attention = needs.fields.contains(trace::Field::kWindowAttention);
  const Index rows = (reads_attention ? layer.window_attention : layer.window_queries).rows();
  if (needs.window_rows > rows) {
    throw PolicyError("policy '{}' reads the last {} prompt queries; layer {} gives {}", policy.name, needs.window_rows,
                      layer.shape.layer, rows);
  }
  if (needs.output_weight && layer.output_weight == nullptr) {
    throw PolicyError("policy '{}' reads the output weight; layer {} has none", policy.name, layer.shape.layer);
  }
  if (needs.future && layer.future == nullptr) {
    throw PolicyError("policy '{}' reads the future queries; layer {} has none", policy.name, layer.shape.layer);
  }
}

// Without a branch, which would keep the loop from being vectorised: all of a float's exponent set is no number.
bool all_finite(std::span<const float> values) {
  std::uint32_t wrong = 0;
  for (const float value : values) {
    wrong |= static_cast<std::uint32_t>((std::bit_cast<std::uint32_t>(value) & 0x7F800000U) == 0x7F800000U);
  }
  return wrong == 0;
}

// What a policy's scorer says, with every candidate scored.
std::shared_ptr<const trace::RowMatrix> scores_of(const Policy& policy, const std::shared_ptr<const Scorer>& scorer,
                                                  const trace::LayerView& layer, const KnownScores& known) {
  if (!scorer) return nullptr;
  check_layer(policy, scorer->needs(), layer);
  const auto found = known.find(scorer_key(*scorer));
  auto scores =
      found != known.end() ? found->second : std::make_shared<const trace::RowMatrix>(raw_scores(*scorer, layer));
  const PositionRanges ranges = policy.ranges(layer.shape);
  bool finite = scores->rows() == set_count(policy.granularity, layer.shape);
  for (Index set = 0; finite && set < scores->rows(); ++set) {
    const float* row = scores->row(set).data() + ranges.candidates_begin;
    finite = all_finite({row, static_cast<std::size_t>(ranges.candidates())});
  }
  if (!finite) {
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
  check_layer(policy, policy.allocator->traits().needs, layer);
  return {scores_of(policy, policy.scorer, layer, known), scores_of(policy, policy.refiner, layer, known)};
}

std::shared_ptr<const Ranking> rank_layer(const Policy& policy, const trace::LayerShape& shape,
                                          const Importance& importance, Index ceiling) {
  const PositionRanges ranges = policy.ranges(shape);
  auto ranking = std::make_shared<Ranking>();
  ranking->order.resize(static_cast<std::size_t>(set_count(policy.granularity, shape)));
  core::parallel_for(ranking->order.size(), [&](std::size_t set) {
    ranking->order[set] = policy.selector->rank({ranges, importance, static_cast<Index>(set), ceiling});
  });
  return ranking;
}

Index HeldLayer::stored(Index set) const {
  const auto index = static_cast<std::size_t>(set);
  return ranges.protected_count() + counts[index] + static_cast<Index>(repeated[index].size());
}

std::span<const std::int32_t> HeldLayer::selected(Index set) const {
  const auto index = static_cast<std::size_t>(set);
  return std::span(ranking->order[index]).first(static_cast<std::size_t>(counts[index]));
}

LayerRetention HeldLayer::positions() const {
  LayerRetention kept;
  kept.layer = shape.layer;
  kept.offsets.push_back(0);
  const auto append_range = [&](Index begin, Index end) {
    for (Index position = begin; position < end; ++position) {
      kept.positions.push_back(static_cast<std::int32_t>(position));
    }
  };
  for (Index set = 0; set < sets(); ++set) {
    const auto index = static_cast<std::size_t>(set);
    if (counts[index] == ranges.candidates() && repeated[index].empty()) {
      append_range(ranges.first_visible, ranges.prompt_length);
    } else {
      append_range(ranges.first_visible, ranges.candidates_begin);
      const auto own = selected(set);
      kept.positions.insert(kept.positions.end(), own.begin(), own.end());
      kept.positions.insert(kept.positions.end(), repeated[index].begin(), repeated[index].end());
      append_range(ranges.candidates_end, ranges.prompt_length);
    }
    kept.offsets.push_back(static_cast<std::int64_t>(kept.positions.size()));
    kept.budgets.push_back(static_cast<std::int32_t>(budgets[index]));
  }
  return kept;
}

Eviction::Eviction(const Policy& policy, Index layers, double slots, Index observed)
    : policy_(policy),
      request_(policy.request(layers, slots)),
      observed_(observed),
      allocation_(policy.allocator->begin(request_)) {}

Index Eviction::ceiling(const trace::LayerView& layer, const Importance& importance) const {
  const PositionRanges ranges = policy_.ranges(layer.shape);
  if (policy_.selector->block() > 1) return ranges.candidates();
  const Index most = allocation_->ceiling({layer, importance, ranges});
  return std::clamp<Index>(most - ranges.protected_count(), 0, ranges.candidates());
}

void Eviction::observe(const trace::LayerView& layer) { observe(layer, score_layer(policy_, layer), nullptr); }

void Eviction::observe(const trace::LayerView& layer, const Importance& importance,
                       std::shared_ptr<const Ranking> ranking, std::shared_ptr<const LayerStatistics> statistics) {
  if (static_cast<Index>(held_.size()) == observed_) throw std::logic_error("more layers than were announced");
  const PositionRanges ranges = policy_.ranges(layer.shape);
  if (!is_feasible(policy_, layer.shape, request_.slots)) {
    throw PolicyError("policy '{}' needs {} positions per kept set of layer {}, more than its budget gives ({})",
                      policy_.name, policy_.allocator->least_capacity(ranges.protected_count()), layer.shape.layer,
                      request_.capacity(layer.shape));
  }
  const Index most = ceiling(layer, importance);
  if (!ranking && !policy_.selector->ranking_depends_on_budget()) {
    ranking = rank_layer(policy_, layer.shape, importance, most);
  }
  const auto sets = static_cast<std::size_t>(set_count(policy_.granularity, layer.shape));
  const auto budgets = allocation_->observe({layer, importance, ranges, ranking.get(), std::move(statistics)});
  const auto own = budgets.last(sets);
  for (std::size_t set = 0; set < sets; ++set) {
    if (own[set] >= ranges.protected_count() || policy_.allocator->traits().ignores_budget) continue;
    throw PolicyError("policy '{}' protects {} positions of layer {}, more than the {} its budget leaves a kept set",
                      policy_.name, ranges.protected_count(), layer.shape.layer, own[set]);
  }

  HeldLayer held{.shape = layer.shape,
                 .ranges = ranges,
                 .ranking = nullptr,
                 .counts = std::vector<Index>(sets, 0),
                 .repeated = std::vector<std::vector<std::int32_t>>(sets),
                 .budgets = {own.begin(), own.end()}};
  const Index sharing = policy_.selector->sharing(request_.layers).layers;
  held.shared = sharing > 1 && static_cast<Index>(held_.size()) % sharing != 0 && !keeps_all(held);
  if (held.shared) {
    take_selection(held);
  } else {
    rank(importance, std::move(ranking), most, held);
  }
  held_.push_back(std::move(held));
  released_.push_back(false);
  apply(budgets);
  if (sharing > 1 && !held_.back().shared && !keeps_all(held_.back())) share_selection();
}

bool Eviction::keeps_all(const HeldLayer& layer) const {
  return std::ranges::all_of(layer.budgets, [&](Index budget) { return budget >= layer.ranges.visible(); });
}

void Eviction::rank(const Importance& importance, std::shared_ptr<const Ranking> ranking, Index most,
                    HeldLayer& layer) const {
  if (!ranking) {
    auto own = std::make_shared<Ranking>();
    for (Index set = 0; set < layer.sets(); ++set) {
      const Index slots =
          std::max<Index>(0, layer.budgets[static_cast<std::size_t>(set)] - layer.ranges.protected_count());
      own->order.push_back(policy_.selector->rank({.ranges = layer.ranges,
                                                   .importance = importance,
                                                   .set = set,
                                                   .ceiling = most,
                                                   .slots = slots,
                                                   .capacity = request_.real_capacity(layer.shape)}));
    }
    ranking = std::move(own);
  }
  for (std::size_t set = 0; set < layer.counts.size(); ++set) {
    layer.counts[set] = std::min(most, static_cast<Index>(ranking->order[set].size()));
  }
  layer.ranking = std::move(ranking);
}

void Eviction::take_selection(HeldLayer& layer) const {
  const PositionRanges& ranges = layer.ranges;
  if (selection_ && selection_->ranges.candidates_begin == ranges.candidates_begin &&
      selection_->ranges.candidates_end == ranges.candidates_end) {
    layer.ranking = selection_->ranking;
    layer.counts = selection_->counts;
    return;
  }
  // Without a selection to share (no layer has made one yet) only what is protected is left. A layer with a sliding
  // window, or fewer protected positions, can hold only a part of it.
  auto own = std::make_shared<Ranking>();
  own->order.resize(layer.counts.size());
  for (std::size_t set = 0; set < own->order.size() && selection_; ++set) {
    const auto selected =
        std::span(selection_->ranking->order[set]).first(static_cast<std::size_t>(selection_->counts[set]));
    std::ranges::copy_if(selected, std::back_inserter(own->order[set]), [&](Index position) {
      return position >= ranges.candidates_begin && position < ranges.candidates_end;
    });
    layer.counts[set] = static_cast<Index>(own->order[set].size());
  }
  layer.ranking = std::move(own);
}

void Eviction::share_selection() {
  const HeldLayer& latest = held_.back();
  const bool selects = std::ranges::any_of(latest.counts, [](Index count) { return count > 0; });
  if (selects || !policy_.selector->sharing(request_.layers).keeps_older) {
    selection_ = Selection{latest.ranking, latest.counts, latest.ranges};
  }
}

// Cuts every layer down to its budget of now. What was cut before does not come back.
void Eviction::apply(std::span<const Index> budgets) {
  std::size_t first = 0;
  for (std::size_t l = 0; l < held_.size(); ++l) {
    HeldLayer& layer = held_[l];
    if (first + layer.counts.size() > budgets.size()) break;
    const auto own = budgets.subspan(first, layer.counts.size());
    std::ranges::copy(own, layer.budgets.begin());
    if (!released_[l] && allocation_->evicts()) cut(layer);
    first += layer.counts.size();
  }
  if (first != budgets.size()) throw std::logic_error("an allocator must give budgets for every layer observed");
}

void Eviction::cut(HeldLayer& layer) const {
  const PositionRanges& ranges = layer.ranges;
  for (std::size_t set = 0; set < layer.counts.size(); ++set) {
    Index& count = layer.counts[set];
    const Index slots = std::clamp<Index>(layer.budgets[set] - ranges.protected_count(), 0, ranges.candidates());
    auto& repeated = layer.repeated[set];
    const Index stored = count + static_cast<Index>(repeated.size());
    if (slots > stored && stored < ranges.candidates()) {
      const Index more = allocation_->repeats(slots - stored, ranges.prompt_length - ranges.candidates_end);
      for (Index i = 0; i < more; ++i) repeated.push_back(static_cast<std::int32_t>(ranges.candidates_end + i));
    } else if (!layer.shared && slots < stored) {
      const auto ranked = std::span(layer.ranking->order[set]).first(static_cast<std::size_t>(count));
      if (slots < count || repeated.empty()) count = policy_.selector->prefix(ranked, ranges, slots);
      repeated.resize(std::min(repeated.size(), static_cast<std::size_t>(std::max<Index>(0, slots - count))));
    }
  }
}

void Eviction::release(std::size_t index) {
  if (policy_.allocator->traits().revises) throw std::logic_error("a layer was let go that may still be revised");
  held_[index].ranking.reset();
  released_[index] = true;
}

double Eviction::held_slots() const {
  double slots = 0.0;
  for (const HeldLayer& layer : held_) {
    Index positions = 0;
    for (Index set = 0; set < layer.sets(); ++set) positions += layer.stored(set);
    slots += stored_slots(policy_.granularity, layer.shape, positions);
  }
  return slots;
}

void Eviction::settle() {
  if (static_cast<Index>(held_.size()) != observed_) throw std::logic_error("fewer layers than were announced");
  apply(allocation_->finish());
}

Retention Eviction::finish() {
  settle();
  Retention retention{policy_.granularity, {}};
  for (const HeldLayer& layer : held_) retention.layers.push_back(layer.positions());
  return retention;
}

Retention evict(const Policy& policy, std::span<const trace::LayerView> layers, double slots) {
  Eviction eviction(policy, static_cast<Index>(layers.size()), slots);
  for (const trace::LayerView& layer : layers) eviction.observe(layer);
  return eviction.finish();
}

}  // namespace evictlab::sim
