#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "trace/layer.hpp"

// Losses of a layer's kept sets that need no queries, keys and values: retained mass, and the bounds of
// analysis/losses.hpp that are linear in the attention.

namespace evictlab::analysis {

/// The prompt positions that every query head holds: H spans of ascending, unique positions in 0..n-1; heads that
/// share a set repeat the span. Future positions are always held and not listed.
using KeptSets = std::vector<std::span<const std::int32_t>>;

/// The bounds that are linear in the attention, in units of the layer's attention output, L1.
struct NormBounds {
  double ada = 0;
  double head = 0;
  double keptmax = 0;
};

/// Losses that future mass and output norms alone give. A head's T is taken as its recorded mass' own sum (which is T
/// to storage rounding), so that a full cache retains exactly 1 and loses exactly 0.
struct SummaryLosses {
  double retained_mass = 0;         // 0..1: m_h, mean over query heads
  double prompt_retained_mass = 0;  // 0..1: kept prompt mass / prompt mass over all heads; 1 if there is none
  /// None without output norms.
  std::optional<NormBounds> bounds;
};
/// Sums over the prompt positions that a head keeps: its losses depend on nothing else.
struct KeptSums {
  double mass = 0;          // future mass
  double weighted = 0;      // sum of future mass * output norm
  double largest_norm = 0;  // of the output norms
};

/// Judges any number of kept sets of one layer against sums over all positions, which it makes once.
class SummaryReference {
 public:
  /// Reads future.mass and, where there are any, future.output_norms, both [H, n+T] and float; they must outlive this.
  /// Throws std::invalid_argument when shapes contradict.
  SummaryReference(const trace::LayerShape& shape, const trace::FutureView& future);

  /// Costs two operations a kept position. Thread-safe. Throws std::invalid_argument when `kept` is no set of H such
  /// spans.
  SummaryLosses losses(const KeptSets& kept) const;

  /// The same from every head's sums [H].
  SummaryLosses losses(std::span<const KeptSums> kept) const;
  /// The sums of one head that keeps every prompt position.
  KeptSums everything(trace::Index head) const;
  /// The sums of one head that keeps `always` and the first counts[i] of `ranked`, for all i at once: running sums in
  /// that order, so that a count's result does not depend on which others are asked for. `counts` rise and are at most
  /// ranked.size(); the positions are different ones of 0..n-1. Thread-safe.
  void sums_in_order(trace::Index head, std::span<const std::int32_t> always, std::span<const std::int32_t> ranked,
                     std::span<const trace::Index> counts, std::span<KeptSums> sums) const;

 private:
  struct Head {
    std::span<const float> mass;   // [n+T]
    std::span<const float> norms;  // [n+T]; empty without any
    double prompt_mass = 0;        // sums over positions 0..n-1, in their order
    double prompt_weighted = 0;    // of mass * norm
    double prompt_norm = 0;        // the largest there
    double future_mass = 0;        // over n..n+T-1
    double future_norm = 0;        // the largest there
    double largest_norm = 0;       // C_h
  };
  static constexpr std::size_t kTogether = 4;
  template <std::size_t count>
  static void add_up(std::span<Head> heads, std::size_t prompt_length);

  trace::LayerShape shape_;
  std::vector<Head> heads_;
};

}  // namespace evictlab::analysis
