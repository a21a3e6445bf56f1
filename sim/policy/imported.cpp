#include "sim/policy/imported.hpp"

#include <algorithm>

namespace evictlab::sim {
namespace {

constexpr const char* kUnbound = "given";

class ImportedScorer final : public Scorer {
 public:
  explicit ImportedScorer(std::shared_ptr<const ImportedScores> scores) : scores_(std::move(scores)) {
    set_identity(scores_ ? std::string(kUnbound) + " by " + scores_->name() : kUnbound);
  }
  Needs needs() const override { return {}; }
  Granularity granularity() const override { return scores_ ? scores_->granularity() : Granularity::kKvHead; }
  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    if (!scores_) throw PolicyError("compose(scorer=given) needs scores (--scores FILE.h5)");
    scores = scores_->scores(std::string(layer.prompt), layer.shape);
  }

 private:
  std::shared_ptr<const ImportedScores> scores_;
};

class ImportedAllocator final : public Allocator {
 public:
  explicit ImportedAllocator(std::shared_ptr<const ImportedBudgets> budgets)
      : Allocator({.ignores_budget = true}), budgets_(std::move(budgets)) {
    set_identity(budgets_ ? "given budgets" : kUnbound);
  }
  std::unique_ptr<Allocation> begin(const AllocationRequest& request) const override {
    if (!budgets_) throw PolicyError("compose(allocator=given) needs budgets (--budgets FILE)");
    class Work final : public Allocation {
     public:
      Work(const AllocationRequest& request, std::shared_ptr<const ImportedBudgets> imported)
          : request_(request), imported_(std::move(imported)) {}
      Index ceiling(const LayerSummary& summary) const override {
        const std::vector<Index> own = positions(summary);
        return *std::max_element(own.begin(), own.end());
      }
      std::span<const Index> observe(const LayerSummary& summary) override {
        const std::vector<Index> own = positions(summary);
        budgets_all_.insert(budgets_all_.end(), own.begin(), own.end());
        return budgets_all_;
      }
      std::span<const Index> finish() override { return budgets_all_; }

     private:
      std::vector<Index> positions(const LayerSummary& summary) const {
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
      std::vector<Index> budgets_all_;
    };
    return std::make_unique<Work>(request, budgets_);
  }

 private:
  std::shared_ptr<const ImportedBudgets> budgets_;
};

}  // namespace

std::shared_ptr<const Scorer> make_imported_scorer(std::shared_ptr<const ImportedScores> scores) {
  return std::make_shared<ImportedScorer>(std::move(scores));
}
std::shared_ptr<const Allocator> make_imported_allocator(std::shared_ptr<const ImportedBudgets> budgets) {
  return std::make_shared<ImportedAllocator>(std::move(budgets));
}

ScorerDefinition imported_scorer() {
  return {.description = "scores made elsewhere (--scores FILE.h5)",
          .make = [](const Parameters&) { return std::make_unique<ImportedScorer>(nullptr); }};
}

AllocatorDefinition imported_allocator() {
  return {.description = "budgets made elsewhere (--budgets FILE)",
          .make = [](const Parameters&) { return std::make_unique<ImportedAllocator>(nullptr); }};
}

bool wants_imported_scores(const Policy& policy) { return policy.scorer && policy.scorer->identity() == kUnbound; }
bool wants_imported_budgets(const Policy& policy) { return policy.allocator->identity() == kUnbound; }

Policy with_imported(Policy policy, const Imported& imported) {
  if (wants_imported_scores(policy)) {
    if (!imported.scores) throw PolicyError("policy '{}' needs scores (--scores FILE.h5)", policy.label());
    policy.scorer = make_imported_scorer(imported.scores);
    policy.granularity = imported.scores->granularity();
  }
  if (wants_imported_budgets(policy)) {
    if (!imported.budgets) throw PolicyError("policy '{}' needs budgets (--budgets FILE)", policy.label());
    policy.allocator = make_imported_allocator(imported.budgets);
  }
  check_parts(policy);
  return policy;
}

}  // namespace evictlab::sim
