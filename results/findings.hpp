#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "results/run_table.hpp"
#include "results/table.hpp"
#include "results/task_values.hpp"

// Computes what a reader takes from the figures: which layers stand out, what moves between tasks, where needles are
// lost. The report words it.

namespace evictlab::results {

/// The layers of the largest values, largest first: at most three, each at least two thirds of the first.
std::vector<int> leading_layers(const TaskValues::ByLayer& values);

/// How many heads are of each kind, by the kind that attention.csv gives a head on most prompts.
struct HeadKinds {
  std::size_t heads = 0;
  std::map<std::string, int> by_kind;
};
/// No heads when the table has no column `kind`.
HeadKinds head_kinds(const Table& attention);

/// Each layer's share of a whole.
using LayerShares = std::map<int, double>;
LayerShares layer_shares(const TaskValues::ByLayer& values);

/// Two tasks, and how far their shares over layers lie apart: the total variation, 0 (alike) .. 1.
struct TaskShift {
  std::string first;
  std::string second;
  double distance = 0;
};
/// The two tasks that differ most; nothing when there are fewer than two.
std::optional<TaskShift> largest_shift(const std::map<std::string, LayerShares>& by_task);

/// How a policy divides one budget over the layers, mean over prompts. Shares are relative to an even split.
struct BudgetDivision {
  PolicyKey policy;
  int most_layer = 0;
  double most = 0;
  int least_layer = 0;
  double least = 0;
  std::optional<TaskShift> shift;  // the largest between two tasks; none with fewer than two
};
/// Reads budgets.csv at one of its budgets: one entry per policy that does not split it evenly. `replay` gives the
/// tasks of prompts; without it (null) there are no shifts.
std::vector<BudgetDivision> budget_divisions(const Table& budgets, const Table* replay, const std::string& budget);

/// The share of needle positions that a policy keeps, mean over prompts.
struct NeedlesKept {
  PolicyKey policy;
  bool compared = true;                         // else its budgets do not reach the slots that others hold
  double all = 0;                               // over layers and kept sets
  std::array<std::optional<double>, 3> thirds;  // by the needle's place: first, middle, last third of the prompt
  std::optional<std::string> worst_layer;       // where the least is kept
  double in_worst_layer = 0;
};
/// Reads spans.csv at one of its budgets: one entry per policy, at equal held slots (SlotCurves) by `replay`; without
/// it (null) or its slots, with whatever each policy holds. The full cache keeps what it holds.
std::vector<NeedlesKept> needles_kept(const Table& spans, const Table* replay, const std::string& budget);

}  // namespace evictlab::results
