#pragma once

#include <memory>

#include "sim/policy/part.hpp"
#include "sim/policy/types.hpp"

namespace evictlab::sim {

/// Gives one importance per (kept set, prompt position). Immutable: the same layer gives the same scores.
class Scorer : public Part {
 public:
  virtual Needs needs() const = 0;
  /// What the rows of `scores` are.
  virtual Granularity granularity() const = 0;
  /// How many of the last positions it leaves unscored (an observation window): a policy must protect them.
  virtual Index unscored_tail() const { return 0; }
  /// Fills scores [set_count, n], which come filled with NaN, from the layer's first visible position to
  /// n - unscored_tail(). Never called with views that needs() asks for missing.
  virtual void score(const trace::LayerView& layer, trace::RowMatrix& scores) const = 0;
};

/// Averages the scores of another scorer for fewer kept sets.
std::shared_ptr<const Scorer> shared_scorer(std::shared_ptr<const Scorer> scorer, Granularity granularity);

}  // namespace evictlab::sim
