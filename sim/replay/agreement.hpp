#pragma once

#include <optional>

#include "sim/policy/types.hpp"

namespace evictlab::sim {

/// How far two retentions of one layer agree, such as a running model's and the replayed one.
struct Agreement {
  double overlap = 1.0;  // of the positions that either holds, the share that both hold; mean over kept sets
  Index mismatches = 0;  // positions that one of them holds alone, over all kept sets
  /// How far apart the scores of a kept set's mismatched positions lie, relative to the largest of them: the most of
  /// all kept sets. They lie around the cut, so rounding explains what is near 0. None without mismatches or their
  /// scores.
  std::optional<double> margin;
};

/// `scores` [kept sets, n] of the first retention's ranking, or null.
Agreement retention_agreement(const LayerRetention& first, const LayerRetention& second,
                              const trace::RowMatrix* scores);

}  // namespace evictlab::sim
