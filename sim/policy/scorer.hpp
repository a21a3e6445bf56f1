#pragma once

#include <string>

#include "sim/policy/types.hpp"

namespace evictlab::sim {

/// Gives one importance per (kept set, prompt position). Immutable: the same layer gives the same scores.
class Scorer {
 public:
  virtual ~Scorer() = default;
  /// Name and every parameter that matters: two scorers of the same identity give the same scores, so
  /// that policies compared side by side are scored once.
  virtual std::string identity() const = 0;
  virtual Needs needs() const = 0;
  /// What the rows of `scores` are.
  virtual Granularity granularity() const = 0;
  /// How many of the last positions it leaves unscored (an observation window): a policy must protect them.
  virtual Index unscored_tail() const { return 0; }
  /// Fills scores [set_count, n], which come filled with NaN, from the layer's first visible position to
  /// n - unscored_tail(). Never called with views that needs() asks for missing.
  virtual void score(const trace::LayerView& layer, trace::RowMatrix& scores) const = 0;
};

}  // namespace evictlab::sim
