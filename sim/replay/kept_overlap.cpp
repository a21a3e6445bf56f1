#include "sim/replay/kept_overlap.hpp"

#include <bit>
#include <utility>

#include "results/run_table.hpp"
#include "results/schema.hpp"

namespace evictlab::sim {
namespace {

std::vector<std::uint64_t> bits_of(std::span<const std::int32_t> positions, Index length) {
  std::vector<std::uint64_t> bits(static_cast<std::size_t>((length + 63) / 64), 0);
  for (const std::int32_t position : positions) {
    bits[static_cast<std::size_t>(position) / 64] |= std::uint64_t{1} << (position % 64);
  }
  return bits;
}

/// Of two empty sets 1.
double jaccard(const std::vector<std::uint64_t>& a, const std::vector<std::uint64_t>& b) {
  int both = 0;
  int either = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    both += std::popcount(a[i] & b[i]);
    either += std::popcount(a[i] | b[i]);
  }
  return either == 0 ? 1.0 : static_cast<double>(both) / either;
}

}  // namespace

KeptOverlap::KeptOverlap(std::span<const Budget> budgets, Index query_heads, bool fixed_too)
    : budget_(budgets[budgets.size() / 2].text()),
      query_heads_(static_cast<std::size_t>(query_heads)),
      fixed_too_(fixed_too),
      table_(results::new_table("kept_overlap")) {}

void KeptOverlap::add(const RetentionRecord& record) {
  if (record.budget.text() != budget_ || (record.policy.allocator->traits().ignores_budget && !fixed_too_)) return;
  if (record.prompt.id != prompt_) {
    compare();
    prompt_ = record.prompt.id;
    task_ = record.prompt.task;
  }
  Kept& kept = kept_.emplace_back(Kept{record.policy.name, record.policy.parameters, {}});
  for (const LayerRetention& layer : record.retention.layers) {
    auto& sets = kept.layers.emplace_back();
    for (Index set = 0; set < layer.sets(); ++set)
      sets.push_back(bits_of(layer.kept(set), record.prompt.prompt_length));
  }
}

void KeptOverlap::compare() {
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    for (std::size_t j = i + 1; j < kept_.size(); ++j) {
      double sum = 0.0;
      for (std::size_t layer = 0; layer < kept_[i].layers.size(); ++layer) {
        const auto& own = kept_[i].layers[layer];
        const auto& others = kept_[j].layers[layer];
        for (std::size_t head = 0; head < query_heads_; ++head) {
          sum += jaccard(own[head * own.size() / query_heads_], others[head * others.size() / query_heads_]);
        }
      }
      const double count = static_cast<double>(kept_[i].layers.size() * query_heads_);
      results::Row row(table_);
      row.set("prompt", prompt_).set("task", task_).set(results::kBudgetColumn, budget_).set("overlap", sum / count);
      row.set("policy", kept_[i].policy).set("parameters", kept_[i].parameters);
      row.set("other_policy", kept_[j].policy).set("other_parameters", kept_[j].parameters);
      table_.add_row(std::move(row));
    }
  }
  kept_.clear();
}

results::Table KeptOverlap::finish() {
  compare();
  return std::move(table_);
}

}  // namespace evictlab::sim
