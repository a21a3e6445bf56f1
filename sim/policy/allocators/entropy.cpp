// LAVa's budgets (Shen et al. 2025, arXiv:2509.09754; MGDDestiny/Lava@71d3cc8). Layers share the budget in proportion
// to the entropy of their scores; after each layer it is divided again, so that those before shrink (cascading); heads
// of a layer compete for what it has. With C positions per kept set, p of them protected, L layers, after layer l
//
//   B_j = int( e_j / (e_0 + ... + e_l) * (C - p) L )              j <= l, per kept set, protected ones not counted
//   c_g = how many of the layer's G B_j best scores are set g's
//   K_g = rint( c_g (1 - f) + F )    in float32, halves to even   F = int(C f)
//
// A layer whose B_j exceeds its m candidates stays whole, and is looked at again after the next one. A layer that was
// evicted is not touched by a B_j above its last one; a set is only ever cut. normalize multiplies set g's scores by
// (sum of its B_j best) / (sum of all): at the first eviction, and once more at the next, whose order later ones use.
//
// F comes from the whole capacity, protected positions included, and is the same in every layer: an assignment to a
// misspelled attribute in the code leaves it so. Layers are pulled towards equal budgets by it, and hold about
// L G (C + f p), more than asked for. floor=layer has F = int(B_j f), the evident intention.
// A layer whose last B_j exceeds m, at which the code fails, is kept whole.

#include "sim/policy/allocators/entropy.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/policy/allocator.hpp"
#include "sim/policy/allocators/layer_share.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/pooled_ranking.hpp"

namespace evictlab::sim {
namespace {

struct EntropyRule {
  double floor_alpha = 0.2;
  bool floor_of_layer = false;
  bool normalize = false;
  Index skip = 0;  // so many first layers give all heads the same
};

class EntropyAllocation final : public Allocation {
 public:
  EntropyAllocation(const AllocationRequest& request, const EntropyRule& rule) : request_(request), rule_(rule) {}

  Index ceiling(const LayerSummary& summary) const override { return summary.ranges.visible(); }

  std::span<const Index> observe(const LayerSummary& summary) override {
    capacity_ = request_.capacity(summary.layer.shape);
    const PositionRanges& ranges = summary.ranges;
    entropies_.push_back(score_entropy(*summary.importance.scores, ranges));
    layers_.push_back({.scores = summary.importance.scores,
                       .shape = summary.layer.shape,
                       .ranges = ranges,
                       .ranking = pooled_ranking_of(summary, TieOrder::kLowerFirst),
                       .counts = std::vector<Index>(static_cast<std::size_t>(summary.importance.scores->rows()),
                                                    ranges.candidates())});
    const Index total = (capacity_ - ranges.protected_count()) * request_.layers;
    const std::vector<Index> budgets = entropy_budgets(entropies_, std::max<Index>(0, total));
    budgets_.clear();
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      update(layers_[l], budgets[l], static_cast<Index>(l) < rule_.skip);
      for (const Index count : layers_[l].counts) {
        budgets_.push_back(layers_[l].ranges.protected_count() + count);
      }
    }
    return budgets_;
  }

  std::span<const Index> finish() override { return budgets_; }

  std::vector<Note> notes() const override {
    double held = 0.0;
    for (const LayerState& layer : layers_) {
      const Index candidates = std::accumulate(layer.counts.begin(), layer.counts.end(), Index{0});
      const Index protects = layer.ranges.protected_count() * static_cast<Index>(layer.counts.size());
      held += stored_slots(request_.granularity, layer.shape, candidates + protects);
    }
    const double asked = request_.slots * static_cast<double>(request_.layers);
    if (request_.authors_unit || held <= asked * 1.01) return {};
    return {
        {"the part of the budget that heads do not compete for is the same in every layer, so that more is held "
         "than asked for (floor=layer avoids it)",
         held - asked}};
  }

 private:
  struct LayerState {
    std::shared_ptr<const trace::RowMatrix> scores;
    trace::LayerShape shape;
    PositionRanges ranges;
    std::shared_ptr<const PooledRanking> ranking;
    std::vector<Index> counts;  // [sets]: candidates held
    bool evicted = false;
    bool reranked = false;  // since it was evicted
    Index last = 0;         // B of the last update
  };

  void update(LayerState& layer, Index budget, bool skipped) const {
    if (layer.evicted ? budget > layer.last : budget > layer.ranges.candidates()) return;
    if (rule_.normalize && !layer.reranked) {
      layer.ranking = std::make_shared<const PooledRanking>(
          weighed_by_concentration(*layer.scores, layer.ranges, budget), layer.ranges, TieOrder::kLowerFirst);
      layer.reranked = layer.evicted;
    }
    const auto sets = static_cast<Index>(layer.counts.size());
    std::vector<Index> counts(layer.counts.size(), budget);
    if (!skipped) {
      counts = layer.ranking->shares(sets * budget);
      const Index floor_slots =
          static_cast<Index>(static_cast<double>(rule_.floor_of_layer ? budget : capacity_) * rule_.floor_alpha);
      for (Index& count : counts) count = blended_count(count, rule_.floor_alpha, floor_slots);
    }
    for (std::size_t set = 0; set < counts.size(); ++set) layer.counts[set] = std::min(layer.counts[set], counts[set]);
    layer.evicted = true;
    layer.last = budget;
  }

  AllocationRequest request_;
  EntropyRule rule_;
  Index capacity_ = 0;
  std::vector<double> entropies_;  // by layer, as what follows
  std::vector<LayerState> layers_;
  std::vector<Index> budgets_;  // [layers so far * sets]
};

}  // namespace

double score_entropy(const trace::RowMatrix& scores, const PositionRanges& ranges) {
  constexpr double kSmall = 1e-16;  // the code's
  const auto candidates = scores.middleCols(ranges.candidates_begin, ranges.candidates());
  if (candidates.size() < 2) return 0.0;
  double sum = 0.0;
  for (Index set = 0; set < candidates.rows(); ++set) sum += candidates.row(set).cast<double>().sum();
  double entropy = 0.0;
  for (Index set = 0; set < candidates.rows(); ++set) {
    const Eigen::ArrayXd shares = candidates.row(set).cast<double>().transpose().array() / (sum + kSmall);
    entropy -= (shares * (shares + kSmall).log()).sum();
  }
  return std::max(0.0, entropy / std::log(static_cast<double>(candidates.size())));
}

std::vector<Index> entropy_budgets(std::span<const double> entropies, Index total) {
  const double sum = std::accumulate(entropies.begin(), entropies.end(), 0.0);
  std::vector<Index> budgets;
  for (const double entropy : entropies) {
    budgets.push_back(sum > 0.0 ? static_cast<Index>(entropy / sum * static_cast<double>(total)) : 0);
  }
  return budgets;
}

AllocatorDefinition entropy_allocator() {
  ParameterList parameters;
  parameters.add(floor_alpha_parameter())
      .choice("floor", {"constant", "layer"}, "what floor_alpha is a part of: the capacity, or the layer's budget")
      .add(normalize_parameter())
      .add(skip_parameter());
  return {.description = "layers by the entropy of their scores, cascading, heads compete (LAVa)",
          .parameters = parameters,
          .make = [](const Parameters& given) {
            const EntropyRule rule{.floor_alpha = given.number("floor_alpha"),
                                   .floor_of_layer = given.choice("floor") == "layer",
                                   .normalize = is_yes(given, "normalize"),
                                   .skip = given.integer("skip")};
            PartChoice equal_layers{"adaptive"};
            for (const char* name : {"floor_alpha", "normalize", "skip"}) {
              equal_layers.settings.emplace_back(name, given.value(name));
            }
            return rule_allocator<EntropyAllocation>({.reads_scores = true,
                                                      .revises = true,
                                                      .compares_layers = true,
                                                      .equal_layers = std::move(equal_layers),
                                                      .statistics = pooled_ranking_statistics(TieOrder::kLowerFirst)},
                                                     rule);
          }};
}

}  // namespace evictlab::sim
