#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "analysis/losses.hpp"
#include "sim/importance.hpp"
#include "sim/policy.hpp"
#include "sim/retention.hpp"

namespace evictlab::sim {

/// What one layer loses by a retention (analysis/losses.hpp has the formulas). What the tier cannot give is empty.
struct Measures {
  analysis::SummaryLosses summary;
  std::optional<analysis::OutputLosses> output;
  /// >= 0: mass the oracle retains more, with the same counts, granularity and protection. Not of what is evicted while
  /// decoding, for which no set is best.
  std::optional<double> regret;
};

/// How the future ranks a layer's positions: what all oracles of a granularity share.
struct FutureRanking {
  trace::RowMatrix shares;                        // [sets, n]: future_importance
  std::vector<std::vector<std::uint32_t>> order;  // [sets][n], falling
  FutureRanking(const trace::LayerShape& shape, const trace::TensorView& future_mass, Granularity granularity);
};

/// The most mass that kept sets of given sizes can retain in one layer, at every size.
class OracleCurve {
 public:
  /// `ranges` are a policy's in this layer, `ranking` is of its granularity.
  OracleCurve(std::shared_ptr<const FutureRanking> ranking, Index query_heads, const PositionRanges& ranges);

  /// How much less the kept sets retain (mean over query heads) than the best of the same sizes and protection.
  double regret(const LayerRetention& kept) const;

 private:
  std::shared_ptr<const FutureRanking> ranking_;
  Index query_heads_;
  PositionRanges ranges_;
  std::vector<std::vector<double>> best_;  // [sets][k]: mass of the protected and the k best candidates
};

/// One layer of one prompt, ready to judge any number of retentions.
class LayerJudge {
 public:
  /// Needs future_mass and output_norms; with an output weight [H*d, hidden] also queries, keys and
  /// values. `data` must outlive it.
  LayerJudge(const trace::LayerData& data, std::optional<trace::RowMatrix> output_weight);
  LayerJudge(const LayerJudge&) = delete;
  LayerJudge& operator=(const LayerJudge&) = delete;

  /// `oracle` is of this layer and the retention's granularity. Thread-safe.
  Measures judge(Granularity granularity, const LayerRetention& kept, const OracleCurve& oracle) const;
  /// The same for a policy that goes on evicting while the future is generated: full tier, with what its rule reads.
  /// Thread-safe.
  Measures judge_decoding(const Policy& policy, const LayerRetention& kept) const;

 private:
  const trace::LayerData& data_;
  trace::FutureView future_;
  std::optional<trace::RowMatrix> output_weight_;
  analysis::SummaryReference summary_;
  std::unique_ptr<const analysis::OutputReference> reference_;
};

}  // namespace evictlab::sim
