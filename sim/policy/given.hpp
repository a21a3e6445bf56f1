#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/policy/policy.hpp"

// A method written elsewhere: its scores, its budgets or its kept sets are brought in and allocated, selected and
// judged by the same code. compose(scorer=given) and compose(allocator=given) stand for them until they are bound.

namespace evictlab::sim {

/// Scores made elsewhere. Thread-safe.
class GivenScores {
 public:
  virtual ~GivenScores() = default;
  /// Where they are from: two of the same name are the same.
  virtual std::string name() const = 0;
  virtual Granularity granularity() const = 0;
  /// [sets, n] of one layer. Throws PolicyError when there are none for it.
  virtual trace::RowMatrix scores(const std::string& prompt, const trace::LayerShape& shape) const = 0;
};

/// Budgets made elsewhere. Thread-safe.
class GivenBudgets {
 public:
  virtual ~GivenBudgets() = default;
  /// Positions per kept set of one layer, protected ones included: one, or one per set. Throws PolicyError when there
  /// are none.
  virtual std::vector<Index> positions(const std::string& prompt, const trace::LayerShape& shape) const = 0;
};

struct Given {
  std::shared_ptr<const GivenScores> scores;
  std::shared_ptr<const GivenBudgets> budgets;
};

/// The parts that stand for what is given, until bound.
std::shared_ptr<const Scorer> given_scorer(std::shared_ptr<const GivenScores> scores);
std::shared_ptr<const Allocator> given_allocator(std::shared_ptr<const GivenBudgets> budgets);

/// Whether a policy has a part that stands for something given.
bool wants_given_scores(const Policy& policy);
bool wants_given_budgets(const Policy& policy);
/// The policy with what is given in its place; one that wants nothing stays as it is. Throws PolicyError when it wants
/// what is not given; ImpossiblePolicy when the parts do not fit.
Policy bound(Policy policy, const Given& given);

}  // namespace evictlab::sim
