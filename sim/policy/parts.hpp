#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "sim/policy/allocator.hpp"
#include "sim/policy/scorer.hpp"
#include "sim/policy/selector.hpp"

// The parts that policies are put together from. One file each in scorers/, allocators/, selectors/.

namespace evictlab::sim {

enum class Pooling { kMax, kAverage };
enum class Reduction { kMean, kMax, kSum };

/// How the attention of the last prompt queries becomes importance.
struct WindowScoring {
  Index window = 32;  // w, the last queries; their own positions are not scored
  Index kernel = 7;   // odd
  Pooling pooling = Pooling::kMax;
  bool pool_first = false;                 // pools each query head before reducing; else reduces first
  Reduction reduction = Reduction::kMean;  // over the query heads of a kv head; not used per query head
  Granularity granularity = Granularity::kKvHead;
  /// Scores the window's own positions too: one more than the layer's highest score, as kvpress does.
  bool score_window = false;
};

/// Window attention, pooled along the positions (SnapKV and those that build on it).
std::shared_ptr<const Scorer> window_attention_scorer(const WindowScoring& scoring);
/// What all prompt queries have paid a position (H2O, arXiv:2306.14048).
struct MassScoring {
  Reduction reduction = Reduction::kMean;
  Granularity granularity = Granularity::kKvHead;
  bool per_observer = false;  // divided by how many queries could see the position (kvpress observed attention)
};
std::shared_ptr<const Scorer> attention_mass_scorer(const MassScoring& scoring);
/// What the last prompt query pays a position, mean over all heads; per layer (TOVA, arXiv:2401.06104).
std::shared_ptr<const Scorer> last_query_scorer();
/// A small key norm is worth more (arXiv:2406.11430).
std::shared_ptr<const Scorer> key_norm_scorer();
/// A key unlike the mean direction of all keys is worth more (KeyDiff, arXiv:2504.15364).
std::shared_ptr<const Scorer> key_difference_scorer();
/// Keys and values judged by those of the next block (LagKV, arXiv:2504.04704).
struct LagScoring {
  Index sinks = 4;
  Index lag = 128;     // positions of a block
  bool cross = false;  // blocks compete by score; else each block ranks its own
};
std::shared_ptr<const Scorer> lag_scorer(const LagScoring& scoring);
/// What queries like the prompt's would pay a position from the next positions on (arXiv:2510.00636).
struct ExpectedScoring {
  Index future = 512;  // positions that the rotation is averaged over
  Index sinks = 4;     // kept before all others
  bool covariance = true;
  bool values = true;  // weighted by the value's norm
  double epsilon = 0.0;
};
std::shared_ptr<const Scorer> expected_attention_scorer(const ExpectedScoring& scoring);
/// What the last queries attend to, by blocks, for all heads of the layer (WindowKV, arXiv:2503.17922).
struct WindowBlockScoring {
  Index window = 32;  // s, the last queries; their own positions are not scored
  Index block = 8;
  Index top = 4;  // largest values of a block and head that count; 0: all
};
std::shared_ptr<const Scorer> window_blocks_scorer(const WindowBlockScoring& scoring);
/// The scores of another scorer for fewer kept sets: their mean.
std::shared_ptr<const Scorer> shared_scorer(std::shared_ptr<const Scorer> scorer, Granularity granularity);
/// The later, the larger: what was read last is kept.
std::shared_ptr<const Scorer> recency_scorer(Granularity granularity);
/// Uniform in [0, 1) as kvpress draws it: torch's generator, begun anew in every layer.
std::shared_ptr<const Scorer> torch_random_scorer(std::uint64_t seed);
/// Uniform in [0, 1), from a seed.
std::shared_ptr<const Scorer> random_scorer(std::uint64_t seed);
/// The attention the future really pays.
std::shared_ptr<const Scorer> future_scorer(Granularity granularity);

/// L1 norm of value * W_O: how much a position can move the layer's output (CriticalKV, arXiv:2502.03805); mean over
/// the query heads of a kv head.
std::shared_ptr<const Scorer> output_norm_scorer(Granularity granularity);

/// What a layer's kept sets get each, before heads compete: positions, protected ones included; may be more than there
/// are.
struct LayerShare {
  std::string identity;
  std::function<Index(const AllocationRequest&, const LayerSummary&, Index layer)> positions;
};
/// The same in every layer.
LayerShare uniform_share();
/// Whose arithmetic a pyramid follows (allocators/pyramid.cpp has all three).
enum class PyramidRule { kAdaKv, kKvCacheFactory, kKvPress };
/// Falling linearly over the layers, steeper with a larger beta >= 1.
LayerShare pyramid_share(PyramidRule rule, Index beta);

/// Every kept set of a layer gets the layer's share, as far as there are positions.
std::shared_ptr<const Allocator> layered_allocator(LayerShare share);
/// The same for every kept set of every layer, as far as there are positions.
std::shared_ptr<const Allocator> uniform_allocator();

/// DynamicKV's layers competing for one budget (allocators/global_counts.cpp).
struct GlobalCountsRule {
  double radio_max = 10.0;  // a layer first keeps at most this times the mean budget
  Index period = 4;         // layers between two divisions
  bool bounded = false;     // the paper's form: no layer grows, and the last layer ends a period too
};
std::shared_ptr<const Allocator> global_counts_allocator(const GlobalCountsRule& rule);

/// WindowKV's groups of layers with falling budgets (allocators/layer_groups.cpp).
struct LayerGroupsRule {
  Index group = 8;  // layers of a group
  Index beta = 14;
  bool exact = false;  // the paper's form
};
std::shared_ptr<const Allocator> layer_groups_allocator(const LayerGroupsRule& rule);
/// `wanted` when that divides the layers into at least two groups, else the largest divisor up to a quarter of them.
Index layers_in_group(Index layers, Index wanted);

/// SimLayerKV's two kinds of layers (allocators/lazy_layers.cpp).
struct LazyRule {
  double threshold = 0.9;  // of attention on the first and most recent positions; 1: no layer is lazy
  Index initial = 4;
  Index recent = 1024;
  Index last = 1;  // queries looked at
};
std::shared_ptr<const Allocator> lazy_allocator(const LazyRule& rule);

/// How the sets of a layer compete for its share (allocators/adaptive.cpp).
enum class AdaptiveKind {
  kBlend,        // counts among the layer's best, blended with the uniform share (FFY0/AdaKV)
  kEvictBottom,  // a guaranteed number, then the layer's best by evicting the worst (kvpress AdaKV)
  kTakeTop       // a guaranteed number, then the layer's best (kvpress CriticalAdaKV)
};
struct AdaptiveRule {
  LayerShare share = uniform_share();
  AdaptiveKind kind = AdaptiveKind::kBlend;
  double floor_alpha = 0.2;  // weight of the uniform share (blend), or guaranteed part of a set's capacity; 0..1
  bool normalize = false;    // blend: weigh a set's scores by how concentrated they are
  Index skip = 0;            // so many first layers are uniform
};
std::shared_ptr<const Allocator> adaptive_allocator(const AdaptiveRule& rule);
/// How many positions a set of this capacity is guaranteed: int(int(capacity) * floor_alpha).
Index guaranteed_positions(double capacity, double floor_alpha);
/// Every visible position, whatever the budget.
std::shared_ptr<const Allocator> everything_allocator();
/// What is protected and nothing else.
std::shared_ptr<const Allocator> protected_allocator();
/// The kept sets of all layers compete for one budget, after the last layer.
std::shared_ptr<const Allocator> all_layers_allocator();
/// The best allocation for a policy's ranking, with hindsight.
std::shared_ptr<const Allocator> hindsight_allocator();

/// The most important positions one by one; equal importance: lower position first.
std::shared_ptr<const Selector> top_selector();

/// The same where those that adaptive_allocator guaranteed come first, and of the others with equal importance the
/// higher position: what kvpress' eviction from the bottom leaves. The ranking depends on the budget.
std::shared_ptr<const Selector> guaranteed_selector(double floor_alpha);

/// The last positions first, as many as this part of the set's budget; then by importance (the original H2O). The
/// ranking depends on the budget.
std::shared_ptr<const Selector> recent_first_selector(double recent_part);

/// CriticalKV's two stages: the best by importance first, then by (importance + epsilon) * refinement.
struct TwoStageRule {
  double first_stage = 0.5;  // part of the budget that the first stage fills; 0..1
  double epsilon = 1e-4;
  bool own_budget = false;   // of the set's own budget (CriticalAdaKV) or of the capacity before allocation
  double floor_alpha = 0.0;  // the first stage takes at least this part of the capacity
};
std::shared_ptr<const Selector> two_stage_selector(const TwoStageRule& rule);

/// How many blocks a budget keeps.
enum class BlockCount {
  kFitting,       // as many whole ones as fit
  kShareOfAll,    // the budget's share of all blocks, rounded down, at least one (ChunkKV)
  kAllButDropped  // all but ceil(excess / size), which can overshoot; none when that drops all (WindowKV)
};
struct BlockRule {
  Index size = 16;
  bool by_mean = false;  // worth of a block: the mean of its scores, or the best
  BlockCount count = BlockCount::kFitting;
  /// In a model of so many layers, how many successive ones hold what the first of them selects; none: one.
  std::function<Index(Index layers)> layers_sharing = nullptr;
};
/// Whole blocks of successive positions.
std::shared_ptr<const Selector> block_selector(const BlockRule& rule);

// CAKE's, DynamicKV's and WindowKV's.

/// Window attention's mean over the w rows plus gamma times its unbiased variance, per query head, averaged over
/// `kernel` positions, then over the query heads of a set (CAKE).
struct MeanVarianceScoring {
  Index window = 32;  // at least 2
  Index kernel = 5;   // odd
  double gamma = 200.0;
  Granularity granularity = Granularity::kKvHead;
};
std::shared_ptr<const Scorer> mean_variance_scorer(const MeanVarianceScoring& scoring);

/// How CAKE divides the budget over the layers, by their preference (sim/policy/cake.hpp).
struct PreferenceRule {
  Index window = 32;           // rows that preferences are computed from
  std::string model = "none";  // whose published temperatures are used where they are not given
  double tau1 = 0.0;           // 0: the model's
  double tau2 = 0.0;
  bool cascading = true;  // divides anew after every layer; else once, after the last
  bool exact = false;     // D'Hondt's divisors over all slots; else the authors' rounding of what is not protected
};
std::shared_ptr<const Allocator> preference_allocator(const PreferenceRule& rule);

}  // namespace evictlab::sim
