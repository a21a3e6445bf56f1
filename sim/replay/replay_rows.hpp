#pragma once

#include <array>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "results/prediction.hpp"
#include "results/run_table.hpp"
#include "sim/replay/headroom.hpp"
#include "sim/replay/judge.hpp"
#include "sim/replay/replay.hpp"

// The rows of replay's tables.

namespace evictlab::sim {

inline constexpr std::size_t kDepthBins = 20;

/// Whether the policy reads more queries than a prompt of so many positions has.
bool is_too_short(const Policy& policy, Index prompt_length);

/// Whether the policy can run on a recorded prompt with `slots` per kv head: kOk, kTooShort or kInfeasible.
results::RunStatus run_status(const Policy& policy, const trace::ModelInfo& model, const trace::PromptInfo& prompt,
                              double slots);

/// What one run came to in one layer.
struct LayerOutcome {
  Measures measures;
  Index layer = 0;                // of the model
  std::vector<Index> set_counts;  // [sets]: positions held
  StoredSlots stored;             // slots per kv head
  bool nothing_evicted = false;
  std::optional<std::array<double, kDepthBins>> depth_shares;
  std::vector<double> span_shares;  // of each named span, the share kept, mean over kept sets

  /// Fills the numbers; where in the prompt only if wanted.
  void count(const HeldLayer& held, Granularity granularity, bool want_positions, std::span<const trace::Span> spans);
};

/// Slots per kv head, mean over the layers.
double mean_slots(const std::vector<LayerOutcome>& layers);

/// Slots per kv head held by all layers up to this one.
struct TrajectoryPoint {
  Index layer = 0;
  double before = 0.0;  // this layer's cache still whole
  double after = 0.0;
};

/// What the rows of a run have in common.
struct RowContext {
  const trace::ModelInfo& model;
  const trace::PromptInfo& prompt;
  const Policy& policy;
  const Budget& budget;
  bool by_layer = true;  // rows of single layers too
  const results::KlPredictor* predictor = nullptr;
};

/// What a run loses by each measure; none: not measured.
using MeasureValues = std::array<std::optional<double>, results::kMeasureCount>;

/// A row with what names the run.
results::Row run_row(const RowContext& context, const results::Table& table);
/// Whether KL is to be foretold: of some layers' errors, a calibration that learned from all would foretell too little.
bool foretells_whole_runs(const RowContext& context);
results::PredictedRun predicted_run(const RowContext& context, double slots_held, const MeasureValues& values);
/// Sets predicted_kl, its ends, and what they rest on.
void set_predicted(results::Row& row, const results::PredictedKl& predicted);

/// A budget as tables have it, and as a reader of the CSV gets it back: slots and ratios are numbers, bytes are text.
results::Cell requested(const Budget& budget, const trace::ModelInfo& model);

/// Where in the prompts runs keep positions: collects what runs keep in each layer, and makes the table `positions`,
/// means over the prompts.
class PositionMeans {
 public:
  void add(const RowContext& context, const std::vector<LayerOutcome>& layers);
  results::Table table() const;

 private:
  struct Entry {
    results::PolicyKey key;
    results::Role role;
    results::Cell budget;
    Index layer;
    std::array<double, kDepthBins> sums = {};
    std::size_t prompts = 0;
  };
  std::vector<Entry> entries_;                                                        // in the order in which they came
  std::map<std::tuple<results::PolicyKey, std::string, Index>, std::size_t> by_run_;  // ... budget, layer -> entry
};

/// Tables with columns and no rows.
ReplayResult empty_result();
void add_rows(const RowContext& context, const std::vector<LayerOutcome>& layers, ReplayResult& result);
void add_trajectory(const RowContext& context, const std::vector<TrajectoryPoint>& trajectory, ReplayResult& result);
/// After add_rows' numbers, from the run's layers; nothing where slots cannot be divided freely.
void add_headroom(const RowContext& context, const std::vector<LayerOutcome>& layers,
                  const std::optional<Headroom>& headroom, ReplayResult& result);
/// Adds the rows of a policy that cannot run on the prompt: a status without measures.
void add_not_run(const RowContext& context, results::RunStatus status, ReplayResult& result);

}  // namespace evictlab::sim
