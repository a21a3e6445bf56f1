#include "sim/policy/imported.hpp"

#include <algorithm>

#include "sim/policy/independent_allocation.hpp"

namespace evictlab::sim {
namespace {

// One command imports them, whichever command names the policy.
constexpr const char* kNeedsScores = "needs imported scores, which evictlab replay takes (--scores FILE.h5)";
constexpr const char* kNeedsBudgets = "needs imported budgets, which evictlab replay takes (--budgets FILE)";

class ImportedScorer final : public Scorer {
 public:
  explicit ImportedScorer(std::shared_ptr<const ImportedScores> scores) : scores_(std::move(scores)) {
    if (scores_) set_identity("given by " + scores_->name());
  }
  Needs needs() const override { return {}; }
  Granularity granularity() const override { return scores_ ? scores_->granularity() : Granularity::kKvHead; }
  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    if (!scores_) throw PolicyError("compose(scorer=given) {}", kNeedsScores);
    scores = scores_->scores(std::string(layer.prompt), layer.shape);
  }

 private:
  std::shared_ptr<const ImportedScores> scores_;
};

class ImportedAllocation final : public IndependentAllocation {
 public:
  ImportedAllocation(const AllocationRequest& request, std::shared_ptr<const ImportedBudgets> imported)
      : request_(request), imported_(std::move(imported)) {
    if (!imported_) throw PolicyError("compose(allocator=given) {}", kNeedsBudgets);
  }

 private:
  std::vector<Index> positions(const LayerSummary& summary) const override {
    const trace::LayerShape& shape = summary.layer.shape;
    const auto sets = static_cast<std::size_t>(set_count(request_.granularity, shape));
    std::vector<Index> own = imported_->positions(std::string(summary.layer.prompt), shape);
    if (own.size() == 1) own.resize(sets, own.front());
    if (own.size() != sets) {
      throw PolicyError("the budgets given for layer {} are for {} kept sets; the policy has {}", shape.layer,
                        own.size(), sets);
    }
    for (Index& positions : own) {
      positions = std::min(positions, summary.ranges.visible());
      if (positions >= summary.ranges.protected_count()) continue;
      throw PolicyError("the budgets given for layer {} leave a kept set {} positions, fewer than the {} protected",
                        shape.layer, positions, summary.ranges.protected_count());
    }
    return own;
  }

  AllocationRequest request_;
  std::shared_ptr<const ImportedBudgets> imported_;
};

std::unique_ptr<Allocator> imported_budget_allocator(std::shared_ptr<const ImportedBudgets> budgets) {
  return rule_allocator<ImportedAllocation>({.ignores_budget = true}, std::move(budgets));
}

/// Whether the part is as its definition makes it, which stands for something imported.
template <typename Kind>
bool awaits_import(const Kind& part) {
  return std::ranges::any_of(parts<Kind>(), [&](const PartInfo<Kind>& info) {
    return info.definition.from_file && info.name == part.identity();
  });
}

}  // namespace

std::shared_ptr<const Scorer> make_imported_scorer(std::shared_ptr<const ImportedScores> scores) {
  return std::make_shared<ImportedScorer>(std::move(scores));
}
std::shared_ptr<const Allocator> make_imported_allocator(std::shared_ptr<const ImportedBudgets> budgets) {
  std::unique_ptr<Allocator> allocator = imported_budget_allocator(std::move(budgets));
  allocator->set_identity("given budgets");
  return allocator;
}

ScorerDefinition imported_scorer() {
  return {.description = "imported scores (--scores FILE.h5)", .from_file = true, .make = [](const Parameters&) {
            return std::make_unique<ImportedScorer>(nullptr);
          }};
}

AllocatorDefinition imported_allocator() {
  return {.description = "imported budgets (--budgets FILE)", .from_file = true, .make = [](const Parameters&) {
            return imported_budget_allocator(nullptr);
          }};
}

bool wants_imported_scores(const Policy& policy) { return policy.scorer && awaits_import(*policy.scorer); }
bool wants_imported_budgets(const Policy& policy) { return awaits_import(*policy.allocator); }

void check_imported(const Policy& policy) {
  if (wants_imported_scores(policy)) throw PolicyError("policy '{}' {}", policy.label(), kNeedsScores);
  if (wants_imported_budgets(policy)) throw PolicyError("policy '{}' {}", policy.label(), kNeedsBudgets);
}

Policy with_imported(Policy policy, const Imported& imported) {
  if (wants_imported_scores(policy)) {
    if (!imported.scores) throw PolicyError("policy '{}' {}", policy.label(), kNeedsScores);
    policy.scorer = make_imported_scorer(imported.scores);
    policy.granularity = imported.scores->granularity();
  }
  if (wants_imported_budgets(policy)) {
    if (!imported.budgets) throw PolicyError("policy '{}' {}", policy.label(), kNeedsBudgets);
    policy.allocator = make_imported_allocator(imported.budgets);
  }
  check_parts(policy);
  return policy;
}

}  // namespace evictlab::sim
