#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "sim/replay/eviction.hpp"
#include "sim/replay/headroom.hpp"
#include "sim/replay/replay.hpp"
#include "sim/replay/replay_rows.hpp"
#include "sim/replay/run_curve.hpp"

namespace evictlab::sim {

/// Replays one prompt under all policies and budgets. Each layer is scored, ranked and measured once for all runs that
/// share the result; then every run evicts, and what it holds is judged. One layer is in memory, and the next one is
/// read meanwhile.
class PromptReplay {
 public:
  PromptReplay(const trace::Source& source, Index prompt, std::span<const Policy> policies,
               std::span<const Budget> budgets, const ReplayOptions& options);

  /// Replays the prompt; `layer_done` is called after each layer. Throws core::Interrupted.
  void work(const std::function<void()>& layer_done);

  /// Adds the rows and notes, and calls options.retention.
  void report(ReplayResult& result, PositionMeans& positions, const ReplayOptions& options) const;

 private:
  struct Run {
    const Policy* policy;
    const Budget* budget;
    results::RunStatus status = results::RunStatus::kOk;
    std::unique_ptr<Eviction> eviction = nullptr;
    std::vector<LayerOutcome> layers = {};
    RunCurve curve = {};
    std::vector<TrajectoryPoint> trajectory = {};  // after each layer
    std::vector<Note> notes = {};
    Retention retention = {};  // kept for the caller
    std::optional<Headroom> headroom = {};

    bool feasible() const { return status == results::RunStatus::kOk; }
  };

  // Runs that rank alike, and, where their headroom is wanted, the curves of these rankings, by layer.
  struct Group {
    std::vector<std::size_t> runs;
    std::vector<std::shared_ptr<const RankedGains>> gains;
  };

  // Policies of the same kept sets and protection divide slots over the same future.
  using FutureKey = std::tuple<Granularity, Index, Index>;
  static FutureKey future_key(const Policy& policy) {
    return {policy.granularity, policy.protection.sinks, policy.protection.recent};
  }
  bool divides_freely(const Policy& policy) const;

  // What the runs of a group share in a layer.
  struct GroupLayer {
    const trace::LayerView* seen = nullptr;
    Importance importance;
    std::shared_ptr<const Ranking> ranking;                                    // none where it depends on the budget
    std::map<std::string, std::shared_ptr<const LayerStatistics>> statistics;  // by their identity
  };

  // Calls work(layer, its index) for every layer in turn; reads the next one, and checks its hashes, meanwhile.
  void each_layer(trace::Fields fields, const std::function<void(const trace::LayerData&, std::size_t)>& work) const;
  void add_run(const Policy& policy, const Budget& budget);
  trace::Fields judged_fields() const;
  // The layer's scores by every distinct scorer.
  KnownScores score(const trace::LayerView& layer, const trace::LayerView& with_future) const;

  // Scores once per scorer, ranks once per group and measures once per kind of allocator.
  GroupLayer prepare(const std::vector<std::size_t>& members, const trace::LayerView& view,
                     const trace::LayerView& with_future, const KnownScores& known) const;

  // Evicts from the layer in every run.
  void observe(const trace::LayerData& data, std::size_t layer);

  // What better scoring and allocation could gain, once all counts are final.
  void find_headroom();

  void observe(const GroupLayer& group, Run& run, std::size_t layer) const;

  // Judges the runs whose allocator revises, or the others.
  void judge(const trace::LayerData& data, std::size_t layer, bool revising);

  const trace::Source& source_;
  Index index_;
  const trace::PromptInfo& info_;
  bool keep_retention_;
  bool want_tables_;
  bool want_positions_;
  bool want_headroom_;
  bool want_curves_;
  bool want_outputs_;                 // measures of the full tier
  bool recomputes_ = false;           // attention of the full tier: for these, or for rules that evict while decoding
  bool reads_output_weight_ = false;  // some policy does
  trace::Fields fields_;
  trace::Fields decoding_fields_;  // what rules read while decoding
  std::vector<Run> runs_;          // in the order of the rows
  std::vector<Group> groups_;
};

}  // namespace evictlab::sim
