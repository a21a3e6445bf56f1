#pragma once

#include <vector>

#include "analysis/losses.hpp"
#include "results/measures.hpp"
#include "sim/replay/replay_rows.hpp"

namespace evictlab::sim {

/// What a run loses in all layers together, future query by query: how losses go on with the distance from the prompt.
class RunCurve {
 public:
  /// The next layer; all of a run have the same number of queries.
  void add(const analysis::OutputLosses& layer);
  /// Adds a row for each stretch of the answer (results/curve_steps.hpp); none where a layer had no losses by query.
  void add_rows(const RowContext& context, double slots_held, ReplayResult& result) const;

 private:
  std::vector<double> squared_;          // [T]: summed over layers, as the others are
  std::vector<double> output_relative_;  // [T]
  std::vector<double> stream_relative_;  // [T]; empty where norms of the stream are not recorded
  bool has_stream_ = true;
};

}  // namespace evictlab::sim
