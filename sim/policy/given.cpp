#include "sim/policy/given.hpp"

#include <algorithm>

namespace evictlab::sim {
namespace {

constexpr const char* kIdentity = "given";

class GivenScorer final : public Scorer {
 public:
  explicit GivenScorer(std::shared_ptr<const GivenScores> scores) : scores_(std::move(scores)) {}
  std::string identity() const override {
    return scores_ ? std::string(kIdentity) + " by " + scores_->name() : std::string(kIdentity);
  }
  Needs needs() const override { return {}; }
  Granularity granularity() const override { return scores_ ? scores_->granularity() : Granularity::kKvHead; }
  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    if (!scores_) throw PolicyError("compose(scorer=given) needs scores (--scores FILE.h5)");
    scores = scores_->scores(std::string(layer.prompt), layer.shape);
  }

 private:
  std::shared_ptr<const GivenScores> scores_;
};

class GivenAllocator final : public Allocator {
 public:
  explicit GivenAllocator(std::shared_ptr<const GivenBudgets> budgets) : budgets_(std::move(budgets)) {}
  std::string identity() const override { return budgets_ ? "given budgets" : kIdentity; }
  bool ignores_budget() const override { return true; }
  std::unique_ptr<Allocation> begin(const AllocationRequest& request) const override {
    if (!budgets_) throw PolicyError("compose(allocator=given) needs budgets (--budgets FILE)");
    class Work final : public Allocation {
     public:
      Work(const AllocationRequest& request, std::shared_ptr<const GivenBudgets> given)
          : request_(request), given_(std::move(given)) {}
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
        std::vector<Index> own = given_->positions(std::string(summary.layer.prompt), shape);
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
      std::shared_ptr<const GivenBudgets> given_;
      std::vector<Index> budgets_all_;
    };
    return std::make_unique<Work>(request, budgets_);
  }

 private:
  std::shared_ptr<const GivenBudgets> budgets_;
};

}  // namespace

std::shared_ptr<const Scorer> given_scorer(std::shared_ptr<const GivenScores> scores) {
  return std::make_shared<GivenScorer>(std::move(scores));
}
std::shared_ptr<const Allocator> given_allocator(std::shared_ptr<const GivenBudgets> budgets) {
  return std::make_shared<GivenAllocator>(std::move(budgets));
}

bool wants_given_scores(const Policy& policy) { return policy.scorer && policy.scorer->identity() == kIdentity; }
bool wants_given_budgets(const Policy& policy) { return policy.allocator->identity() == kIdentity; }

Policy bound(Policy policy, const Given& given) {
  if (wants_given_scores(policy)) {
    if (!given.scores) throw PolicyError("policy '{}' needs scores (--scores FILE.h5)", policy.label());
    policy.scorer = given_scorer(given.scores);
    policy.granularity = given.scores->granularity();
  }
  if (wants_given_budgets(policy)) {
    if (!given.budgets) throw PolicyError("policy '{}' needs budgets (--budgets FILE)", policy.label());
    policy.allocator = given_allocator(given.budgets);
  }
  check_parts(policy);
  return policy;
}

}  // namespace evictlab::sim
