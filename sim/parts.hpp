#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "sim/allocator.hpp"
#include "sim/scorer.hpp"
#include "sim/selector.hpp"

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
/// The scores of another scorer for fewer kept sets: their mean.
std::shared_ptr<const Scorer> shared_scorer(std::shared_ptr<const Scorer> scorer, Granularity granularity);
/// The later, the larger: what was read last is kept.
std::shared_ptr<const Scorer> recency_scorer(Granularity granularity);
/// Uniform in [0, 1), from a seed.
std::shared_ptr<const Scorer> random_scorer(std::uint64_t seed);
/// The attention the future really pays.
std::shared_ptr<const Scorer> future_scorer(Granularity granularity);

/// The same for every kept set of every layer, as far as there are positions.
std::shared_ptr<const Allocator> uniform_allocator();
/// Every visible position, whatever the budget.
std::shared_ptr<const Allocator> everything_allocator();
/// What is protected and nothing else.
std::shared_ptr<const Allocator> protected_allocator();

/// The most important positions one by one; equal importance: lower position first.
std::shared_ptr<const Selector> top_selector();

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

/// How CAKE divides the budget over the layers, by their preference (sim/cake.hpp).
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
