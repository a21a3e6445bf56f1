#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/policy/policy.hpp"

// A method written elsewhere: its scores, its budgets or its kept sets are brought in and allocated, selected and
// judged by the same code. compose(scorer=given) and compose(allocator=given) stand for them until with_imported() puts
// them in.

namespace evictlab::sim {

/// Reads scores that were made elsewhere. Thread-safe.
class ImportedScores {
 public:
  virtual ~ImportedScores() = default;
  /// Where they are from: two of the same name are the same.
  virtual std::string name() const = 0;
  virtual Granularity granularity() const = 0;
  /// [sets, n] of one layer. Throws PolicyError when there are none for it.
  virtual trace::RowMatrix scores(const std::string& prompt, const trace::LayerShape& shape) const = 0;
};

/// Reads budgets that were made elsewhere. Thread-safe.
class ImportedBudgets {
 public:
  virtual ~ImportedBudgets() = default;
  /// Positions per kept set of one layer, protected ones included: one, or one per set. Throws PolicyError when there
  /// are none.
  virtual std::vector<Index> positions(const std::string& prompt, const trace::LayerShape& shape) const = 0;
};

struct Imported {
  std::shared_ptr<const ImportedScores> scores;
  std::shared_ptr<const ImportedBudgets> budgets;
};

/// The parts that read what is imported.
std::shared_ptr<const Scorer> make_imported_scorer(std::shared_ptr<const ImportedScores> scores);
std::shared_ptr<const Allocator> make_imported_allocator(std::shared_ptr<const ImportedBudgets> budgets);

/// Whether a policy has a part that stands for something imported.
bool wants_imported_scores(const Policy& policy);
bool wants_imported_budgets(const Policy& policy);
/// Puts what is imported in its place; a policy that wants nothing stays as it is. Throws PolicyError when it wants
/// what is missing; ImpossiblePolicy when the parts do not fit.
Policy with_imported(Policy policy, const Imported& imported);

}  // namespace evictlab::sim
