#include "results/equal_slots.hpp"

#include <algorithm>
#include <cmath>

namespace evictlab::results {
namespace {

constexpr double kSlotTolerance = 1.0;
constexpr double kShareTolerance = 0.01;

double held_by(const Run* run) { return *run->slots_held; }

/// Methods are compared with each other; others set the slots only where there is no method.
int precedence(const Run& run) {
  if (is_full_cache(run.key, run.role)) return 3;
  return run.role == Role::kMethod ? 0 : run.role == Role::kControl ? 1 : 2;
}

/// Of held counts, the one to compare at. Equally near: the lower.
double compared_of(std::vector<double> held, std::optional<double> asked) {
  std::ranges::sort(held);
  if (!asked) return held[(held.size() - 1) / 2];
  return *std::ranges::min_element(held, {}, [&](double slots) { return std::abs(slots - *asked); });
}

}  // namespace

bool equal_slots(double a, double b) {
  return std::abs(a - b) <= std::max(kSlotTolerance, kShareTolerance * std::max(a, b)) + 1e-9;
}

SlotCurves::SlotCurves(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.feasible() && run.slots_held) runs_.push_back(run);
  }
  struct Held {
    int precedence = 3;
    std::vector<double> slots;
    std::optional<double> asked;
  };
  std::map<Place, Held> held;
  for (const Run& run : runs_) {
    by_prompt_[run.key][run.prompt].push_back(&run);
    Held& own = held[{run.budget_text, run.prompt}];
    own.asked = run.budget_slots;
    if (precedence(run) > own.precedence || precedence(run) == 3) continue;
    if (precedence(run) < own.precedence) own.slots.clear();
    own.precedence = precedence(run);
    own.slots.push_back(*run.slots_held);
  }
  for (auto& [place, own] : held) {
    if (!own.slots.empty()) compared_[place] = compared_of(std::move(own.slots), own.asked);
  }
  for (auto& [key, prompts] : by_prompt_) {
    for (auto& [prompt, own] : prompts) std::ranges::stable_sort(own, {}, held_by);
  }
}

std::optional<double> SlotCurves::compared(const std::string& budget, const std::string& prompt) const {
  const auto found = compared_.find({budget, prompt});
  return found == compared_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<PromptSlots> SlotCurves::compared_on(const std::string& budget, const PromptSlots& prompts) const {
  PromptSlots slots;
  for (const auto& [prompt, held] : prompts) {
    const auto own = compared(budget, prompt);
    if (!own) return std::nullopt;
    slots[prompt] = *own;
  }
  return slots.empty() ? std::nullopt : std::optional(std::move(slots));
}

const Run* SlotCurves::run_of(const PolicyKey& key, const std::string& budget, const std::string& prompt) const {
  const auto prompts = by_prompt_.find(key);
  if (prompts == by_prompt_.end() || !prompts->second.contains(prompt)) return nullptr;
  const std::vector<const Run*>& runs = prompts->second.at(prompt);
  const auto own = std::ranges::find(runs, budget, &Run::budget_text);
  return own == runs.end() ? nullptr : *own;
}

WeightedRuns SlotCurves::around(const PolicyKey& key, const std::string& budget, const std::string& prompt,
                                double slots) const {
  const auto prompts = by_prompt_.find(key);
  if (prompts == by_prompt_.end()) return {};
  const auto runs = prompts->second.find(prompt);
  if (runs == prompts->second.end()) return {};
  const Run* nearest = nullptr;
  const auto distance = [&](const Run* run) { return std::abs(held_by(run) - slots); };
  for (const Run* run : runs->second) {
    if (!equal_slots(held_by(run), slots)) continue;
    if (run->budget_text == budget) return {{run, 1.0}};
    if (nearest == nullptr || distance(run) < distance(nearest)) nearest = run;
  }
  if (nearest != nullptr) return {{nearest, 1.0}};
  const auto above = std::ranges::upper_bound(runs->second, slots, {}, held_by);
  if (above == runs->second.begin() || above == runs->second.end()) return {};
  const Run* const below = *std::prev(above);
  if (!(held_by(below) > 0)) return {};  // no logarithm
  const double share = std::log(slots / held_by(below)) / std::log(held_by(*above) / held_by(below));
  return {{below, 1.0 - share}, {*above, share}};
}

std::optional<std::map<std::string, WeightedRuns>> SlotCurves::runs(const PolicyKey& key, const std::string& budget,
                                                                    const PromptSlots& slots) const {
  std::map<std::string, WeightedRuns> runs;
  double wanted = 0.0;
  double held = 0.0;
  for (const auto& [prompt, count] : slots) {
    WeightedRuns own = around(key, budget, prompt, count);
    wanted += count;
    held += count;
    if (own.empty()) {
      const Run* const stand_in = run_of(key, budget, prompt);
      if (stand_in == nullptr) return std::nullopt;
      own = {{stand_in, 1.0}};
      held += held_by(stand_in) - count;
    }
    runs[prompt] = std::move(own);
  }
  const auto prompts = static_cast<double>(slots.size());
  if (!slots.empty() && !equal_slots(held / prompts, wanted / prompts)) return std::nullopt;
  return runs;
}

std::optional<std::map<std::string, double>> SlotCurves::values(const PolicyKey& key, const std::string& budget,
                                                                const PromptSlots& slots,
                                                                const ValueOfRun& value) const {
  const auto all = runs(key, budget, slots);
  if (!all) return std::nullopt;
  std::map<std::string, double> values;
  for (const auto& [prompt, own] : *all) {
    double sum = 0.0;
    for (const auto& [run, weight] : own) {
      const auto measured = value(*run);
      if (!measured) return std::nullopt;
      sum += weight * *measured;
    }
    values[prompt] = sum;
  }
  return values;
}

}  // namespace evictlab::results
