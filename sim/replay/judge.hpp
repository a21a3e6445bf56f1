#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "analysis/losses.hpp"
#include "sim/policy/policy.hpp"
#include "sim/policy/types.hpp"
#include "sim/replay/eviction.hpp"
#include "sim/replay/span_mass.hpp"

namespace evictlab::sim {

/// What one layer loses by a retention (analysis/losses.hpp has the formulas). What the tier cannot give is empty.
struct Measures {
  analysis::SummaryLosses summary;
  std::optional<analysis::OutputLosses> output;
  /// >= 0: mass the oracle retains more, with the same counts, granularity and protection.
  std::optional<double> regret;
  /// Of each named span (SpanMarks), the share of the future's attention on it that falls on held positions, over all
  /// query heads; 1 where there is none. Empty without spans.
  std::vector<double> span_mass = {};
};

/// The most mass that kept sets of given sizes can retain in one layer, at every size.
class OracleCurve {
 public:
  /// `shares` [sets, n]; sizes up to `depth` candidates a set will be asked for.
  OracleCurve(const trace::RowMatrix& shares, const PositionRanges& ranges, Index depth);

  /// Mass of the protected and the `count` best candidates of a set, summed over its query heads.
  double best(Index set, Index count) const;

 private:
  std::vector<std::vector<double>> best_;  // [sets][count]
};

/// One run's kept sets of the layer.
struct JudgedLayer {
  Granularity granularity;
  const HeldLayer* held;
};

/// One layer of one prompt, ready to judge any number of retentions.
class LayerJudge {
 public:
  struct Settings {
    std::span<const trace::Span> spans = {};  // named in the prompt
    bool outputs = true;                      // Measures::output, where there is an output weight
  };
  /// Needs future_mass and output_norms; with an output weight [H*d, hidden] also queries, keys and
  /// values. `data` must outlive it.
  LayerJudge(const trace::LayerData& data, const std::optional<trace::RowMatrix>& output_weight,
             const Settings& settings);
  LayerJudge(const LayerJudge&) = delete;
  LayerJudge& operator=(const LayerJudge&) = delete;

  /// Judges many runs at once: those of one ranking share its running sums, whatever their counts, and those that hold
  /// the same share the result. A run's result does not depend on which others there are. Thread-safe.
  std::vector<Measures> judge(std::span<const JudgedLayer> runs) const;
  /// The same for a policy that goes on evicting while the future is generated: full tier, with what its rule reads.
  /// Its regret is against the best choice of what leaves when, as many leaving each time as do under the policy
  /// (analysis/eviction_slots.hpp); none in a layer with a sliding window, where positions also leave by themselves.
  /// Thread-safe.
  Measures judge_decoding(const Policy& policy, const LayerRetention& kept) const;

 private:
  double decoding_regret(const Policy& policy, const DecodedLayer& decoded) const;
  std::vector<double> decoding_span_mass(const DecodedLayer& decoded) const;

  const trace::LayerData& data_;
  trace::FutureView future_;
  SpanMarks spans_;
  bool outputs_;
  analysis::SummaryReference summary_;
  std::unique_ptr<const analysis::OutputReference> reference_;
};

}  // namespace evictlab::sim
