#include "results/findings.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "results/equal_slots.hpp"
#include "results/rows.hpp"

namespace evictlab::results {
namespace {

/// A mean that is still being added to.
struct RunningMean {
  double sum = 0;
  double count = 0;
  void add(double value) {
    sum += value;
    ++count;
  }
  double value() const { return count > 0 ? sum / count : 0.0; }
};
using LayerMeans = std::map<int, RunningMean>;

double total_variation(const LayerShares& a, const LayerShares& b) {
  std::set<int> layers;
  for (const auto& [layer, share] : a) layers.insert(layer);
  for (const auto& [layer, share] : b) layers.insert(layer);
  double sum = 0;
  for (const int layer : layers) {
    const double first = a.contains(layer) ? a.at(layer) : 0.0;
    const double second = b.contains(layer) ? b.at(layer) : 0.0;
    sum += std::abs(first - second);
  }
  return sum / 2;
}

std::map<std::string, std::string> task_of_prompts(const Table& replay) {
  std::map<std::string, std::string> tasks;
  for (const RowView row : RowsOf(replay)) tasks[row.prompt()] = row.text("task");
  return tasks;
}

/// Slots that a policy holds of one prompt: by layer, summed over heads.
using SlotsByLayer = std::map<int, double>;
/// Slots that a policy holds, by prompt.
using PolicySlots = std::map<std::string, SlotsByLayer>;

std::map<PolicyKey, PolicySlots> slots_at(const Table& budgets, const std::string& budget) {
  std::map<PolicyKey, PolicySlots> slots;
  for (const RowView row : RowsOf(budgets)) {
    const auto count = row.number("slots");
    if (row.budget() != budget || !count) continue;
    slots[row.policy()][row.prompt()][static_cast<int>(row.index("layer").value_or(0))] += *count;
  }
  return slots;
}

void add_shares(const SlotsByLayer& slots, LayerMeans& means) {
  double total = 0;
  for (const auto& [layer, count] : slots) total += count;
  for (const auto& [layer, count] : slots) means[layer].add(total > 0 ? count / total : 0.0);
}

/// The largest shift between two tasks of a policy's prompts.
std::optional<TaskShift> shift_between_tasks(const PolicySlots& slots,
                                             const std::map<std::string, std::string>& tasks) {
  std::map<std::string, LayerMeans> means;
  for (const auto& [prompt, by_layer] : slots) {
    if (const auto task = tasks.find(prompt); task != tasks.end()) add_shares(by_layer, means[task->second]);
  }
  std::map<std::string, LayerShares> shares;
  for (const auto& [task, by_layer] : means) {
    for (const auto& [layer, mean] : by_layer) shares[task][layer] = mean.value();
  }
  return largest_shift(shares);
}

/// Nothing for a policy that splits the budget evenly.
std::optional<BudgetDivision> division_of(const PolicyKey& policy, const PolicySlots& slots,
                                          const std::map<std::string, std::string>& tasks) {
  LayerMeans means;
  for (const auto& [prompt, by_layer] : slots) add_shares(by_layer, means);
  const auto less = [](const auto& a, const auto& b) { return a.second.value() < b.second.value(); };
  const auto most = std::max_element(means.begin(), means.end(), less);
  const auto least = std::min_element(means.begin(), means.end(), less);
  const auto layers = static_cast<double>(means.size());
  if (most->second.value() - least->second.value() < 0.01 / layers) return std::nullopt;
  return BudgetDivision{policy,
                        most->first,
                        most->second.value() * layers,
                        least->first,
                        least->second.value() * layers,
                        shift_between_tasks(slots, tasks)};
}

/// A prompt's needle under a policy at a budget.
struct NeedleRows {
  double depth = 0;
  std::map<std::string, double> retained;  // by layer, and over all
};

struct NeedleMeans {
  RunningMean all;
  std::array<RunningMean, 3> thirds;
  std::map<std::string, RunningMean> layers;

  void add(const NeedleRows& needle) {
    for (const auto& [layer, retained] : needle.retained) {
      if (layer != kAllLayers) {
        layers[layer].add(retained);
        continue;
      }
      all.add(retained);
      thirds[std::min<std::size_t>(2, static_cast<std::size_t>(3 * std::clamp(needle.depth, 0.0, 1.0)))].add(retained);
    }
  }
};

NeedlesKept kept_of(const PolicyKey& policy, const NeedleMeans& means) {
  NeedlesKept kept{.policy = policy, .compared = true, .all = means.all.value(), .thirds = {}, .worst_layer = {}};
  for (std::size_t third = 0; third < means.thirds.size(); ++third) {
    if (means.thirds[third].count > 0) kept.thirds[third] = means.thirds[third].value();
  }
  const auto worst = std::min_element(means.layers.begin(), means.layers.end(),
                                      [](const auto& a, const auto& b) { return a.second.value() < b.second.value(); });
  if (worst != means.layers.end()) {
    kept.worst_layer = worst->first;
    kept.in_worst_layer = worst->second.value();
  }
  return kept;
}

}  // namespace

std::vector<int> leading_layers(const TaskValues::ByLayer& values) {
  std::vector<std::pair<double, int>> order;
  for (const auto& [layer, value] : values) order.emplace_back(-value.mean, static_cast<int>(layer));
  std::ranges::sort(order);
  std::vector<int> layers;
  for (const auto& [negative, layer] : order) {
    if (layers.size() < 3 && -negative >= -order.front().first * 2 / 3) layers.push_back(layer);
  }
  return layers;
}

HeadKinds head_kinds(const Table& attention) {
  if (!attention.find_column("kind")) return {};
  std::map<std::pair<std::string, std::string>, std::map<std::string, int>> votes;  // by layer and head
  for (const RowView row : RowsOf(attention)) ++votes[{row.text("layer"), row.text("head")}][row.text("kind")];
  HeadKinds kinds{.heads = votes.size(), .by_kind = {}};
  for (const auto& [head, counts] : votes) {
    ++kinds.by_kind[std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; })->first];
  }
  return kinds;
}

LayerShares layer_shares(const TaskValues::ByLayer& values) {
  LayerShares shares;
  for (const auto& [layer, value] : values) shares[static_cast<int>(layer)] = value.mean;
  return shares;
}

std::optional<TaskShift> largest_shift(const std::map<std::string, LayerShares>& by_task) {
  std::optional<TaskShift> largest;
  for (auto a = by_task.begin(); a != by_task.end(); ++a) {
    for (auto b = std::next(a); b != by_task.end(); ++b) {
      const double distance = total_variation(a->second, b->second);
      if (!largest || distance > largest->distance) largest = {a->first, b->first, distance};
    }
  }
  return largest;
}

std::vector<BudgetDivision> budget_divisions(const Table& budgets, const Table* replay, const std::string& budget) {
  const auto tasks = replay == nullptr ? std::map<std::string, std::string>() : task_of_prompts(*replay);
  std::vector<BudgetDivision> divisions;
  for (const auto& [policy, slots] : slots_at(budgets, budget)) {
    if (auto division = division_of(policy, slots, tasks)) divisions.push_back(std::move(*division));
  }
  return divisions;
}

std::vector<NeedlesKept> needles_kept(const Table& spans, const Table* replay, const std::string& budget) {
  std::map<PolicyKey, std::map<std::string, NeedleRows>> needles;  // of `budget`, by prompt
  std::map<std::pair<PolicyKey, std::string>, std::map<std::string, NeedleRows>>
      others;  // policy and budget; by prompt
  const RunColumns columns(spans);
  std::set<PolicyKey> full;
  for (std::size_t row = 0; row < spans.rows(); ++row) {
    const RowView view(spans, row);
    if (view.text("span") != "needle" || !view.number("retained")) continue;
    if (is_full_cache(view.policy(), columns.role(row))) full.insert(view.policy());
    NeedleRows& own = others[{view.policy(), view.budget()}][view.prompt()];
    own.depth = view.number("depth").value_or(0);
    own.retained[view.text("layer")] = *view.number("retained");
  }
  for (const auto& [run, prompts] : others) {
    if (run.second == budget) needles[run.first] = prompts;
  }
  std::optional<SlotCurves> curves;
  if (replay != nullptr && replay->find_column("slots_held")) curves.emplace(runs_over_layers(*replay));
  std::vector<NeedlesKept> kept;
  for (const auto& [policy, prompts] : needles) {
    PromptSlots asked;
    for (const auto& [prompt, own] : prompts) asked[prompt] = 0.0;
    const auto slots = curves ? curves->compared_on(budget, asked) : std::nullopt;
    const bool as_held = !slots || full.contains(policy);
    const auto runs = as_held ? std::nullopt : curves->runs(policy, budget, *slots);
    bool compared = as_held || runs;
    NeedleMeans means;
    for (const auto& [prompt, own] : prompts) {
      if (!runs) {
        means.add(own);
        continue;
      }
      NeedleRows there{.depth = own.depth, .retained = {}};
      for (const auto& [run, weight] : runs->at(prompt)) {
        const auto same = others.find({policy, run->budget_text});
        if (same == others.end() || !same->second.contains(prompt)) {
          compared = false;
          continue;
        }
        for (const auto& [layer, retained] : same->second.at(prompt).retained) {
          there.retained[layer] += weight * retained;
        }
      }
      means.add(there);
    }
    kept.push_back(kept_of(policy, means));
    kept.back().compared = compared;
  }
  return kept;
}

}  // namespace evictlab::results
