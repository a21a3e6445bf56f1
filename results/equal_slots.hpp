#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "results/run_table.hpp"

// Compares policies at equal held slots. A budget is what was asked for: a policy may hold more (its arithmetic exceeds
// the budget) or less (whole blocks), and one that holds more retains more for that reason alone.

namespace evictlab::results {

/// Whether two counts of slots are equal in a comparison: within 1 % or one slot of each other.
bool equal_slots(double a, double b);

/// Slots by prompt.
using PromptSlots = std::map<std::string, double>;

/// Runs and their weights, which sum to 1.
using WeightedRuns = std::vector<std::pair<const Run*, double>>;

/// The curves of a run table: what each policy measures on each prompt against the slots that it holds there, over all
/// its budgets. Between two budgets, values are linear in the logarithm of the slots; nothing is known beyond the first
/// and the last.
class SlotCurves {
 public:
  /// Keeps the feasible runs. They are of one turn.
  explicit SlotCurves(const std::vector<Run>& runs);
  SlotCurves(SlotCurves&&) = default;
  SlotCurves(const SlotCurves&) = delete;  // its curves point at its runs

  /// The slots at which policies are compared on a prompt at a budget. Of what the methods (where there are none,
  /// controls; else ceilings that evict) hold there: what is nearest to the number of slots asked for, or the median
  /// where the budget is a ratio or bytes. Nothing where none is feasible.
  std::optional<double> compared(const std::string& budget, const std::string& prompt) const;

  /// compared() of the prompts that are there; nothing unless it is known of every one.
  std::optional<PromptSlots> compared_on(const std::string& budget, const PromptSlots& prompts) const;

  /// What stands for a policy with these slots, by prompt: the run of `budget` if it holds them, else the nearest that
  /// does, else the two about them with their weights. Where the policy's budgets do not reach a prompt's slots, its
  /// run of `budget` stands in as long as the mean over prompts is equal; nothing otherwise.
  std::optional<std::map<std::string, WeightedRuns>> runs(const PolicyKey& key, const std::string& budget,
                                                          const PromptSlots& slots) const;

  /// A policy's values with these slots, by prompt; nothing where runs() has nothing or one is not measured.
  using ValueOfRun = std::function<std::optional<double>(const Run&)>;
  std::optional<std::map<std::string, double>> values(const PolicyKey& key, const std::string& budget,
                                                      const PromptSlots& slots, const ValueOfRun& value) const;

 private:
  WeightedRuns around(const PolicyKey& key, const std::string& budget, const std::string& prompt, double slots) const;
  const Run* run_of(const PolicyKey& key, const std::string& budget, const std::string& prompt) const;

  using Place = std::pair<std::string, std::string>;                               // budget, prompt
  std::map<PolicyKey, std::map<std::string, std::vector<const Run*>>> by_prompt_;  // by slots
  std::map<Place, double> compared_;
  std::vector<Run> runs_;
};

}  // namespace evictlab::results
