#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/policy/policy.hpp"

// Imported scores and budgets: a method that runs in another program is compared by the same allocation, selection and
// losses. compose(scorer=given) and compose(allocator=given) hold their places until with_imported() binds them.

namespace evictlab::sim {

/// Reads imported scores. Thread-safe.
class ImportedScores {
 public:
  virtual ~ImportedScores() = default;
  /// Names the source: two of the same name are the same.
  virtual std::string name() const = 0;
  virtual Granularity granularity() const = 0;
  /// [sets, n] of one layer. Throws PolicyError when there are none for it.
  virtual trace::RowMatrix scores(const std::string& prompt, const trace::LayerShape& shape) const = 0;
};

/// Reads imported budgets. Thread-safe.
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

/// Whether a policy has a part that still stands for something imported.
bool wants_imported_scores(const Policy& policy);
bool wants_imported_budgets(const Policy& policy);
/// Throws PolicyError when a part of the policy still stands for something imported: only `evictlab replay` imports.
void check_imported(const Policy& policy);
/// Binds imported scores and budgets to the policy's parts that stand for them; other policies stay as they are. Throws
/// PolicyError when what a policy needs is missing; ImpossiblePolicy when the parts do not fit.
Policy with_imported(Policy policy, const Imported& imported);

}  // namespace evictlab::sim
