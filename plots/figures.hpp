#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "plots/gnuplot.hpp"
#include "results/table.hpp"

// The figures, each from one result table alone. All throw results::TableError for a column that is missing
// or not numeric. None draws from nothing: a table without usable rows gives no figure.

namespace evictlab::plots {

/// From replay.csv: attention mass lost and, where measured, relative output loss against the slots held;
/// means over prompts with 95 % bootstrap intervals, the range between random and oracle shaded. First over all
/// prompts ("loss"), then, when there are several tasks, per task ("loss_by_task_mass", "loss_by_task_output").
/// Then what the oracle retains more with the same counts ("regret"). A point is drawn only if the policy could be
/// measured on every prompt of the panel at that budget.
std::vector<Figure> loss_figures(const results::Table& replay);

/// From replay.csv of full-tier recordings: how far the bounds are above the exact loss, by budget ("bounds").
std::vector<Figure> bound_figures(const results::Table& replay);

/// From attention.csv: layer x head maps of normalized entropy, sink mass and recent mass, averaged over prompts
/// ("attention"), and of the entropy per task when there are several ("attention_by_task").
std::vector<Figure> attention_figures(const results::Table& attention);

/// From maps.csv: which positions the window's queries of the first prompt attend to, a picture per layer
/// ("attention_maps").
std::vector<Figure> picture_figures(const results::Table& maps);

/// From budgets.csv: each layer's share of the budget, relative to an even split, per policy ("layer_budgets"); what
/// each head gets under the policies that tell heads apart ("head_budgets").
std::vector<Figure> budget_figures(const results::Table& budgets);

/// From positions.csv: where in the prompt each layer's kept positions lie, one map per policy, at one of the
/// budgets ("kept_positions").
std::vector<Figure> position_figures(const results::Table& positions);

/// From kept_overlap.csv: policies against policies ("kept_overlap").
std::vector<Figure> kept_overlap_figures(const results::Table& kept_overlap);

/// From tasks.csv: what sets layers apart, a line per task ("layers"); which layers each task asks for
/// ("layer_shares_by_task"); where attention goes ("attention_split"); positions needed ("minimum_budget"); what heads
/// have in common ("heads").
std::vector<Figure> layer_figures(const results::Table& tasks);

/// From concentration.csv: attention held by the most attended positions, per layer ("mass_curves") and head
/// ("concentration").
std::vector<Figure> concentration_figures(const results::Table& concentration);

/// From overlap.csv: which layers look at the same positions ("layer_overlap").
std::vector<Figure> overlap_figures(const results::Table& overlap);

/// From future.csv: how long the window's choice lasts, layer by future query ("foresight").
std::vector<Figure> future_figures(const results::Table& future);

/// From scorers.csv: how well each policy's scorer foresees the future, by layer ("scorers").
std::vector<Figure> scorer_figures(const results::Table& scorers);

/// From spans.csv, at one of the budgets: needle positions kept by depth and prompt length ("needles"), and by layer
/// ("needles_by_layer"), per policy.
std::vector<Figure> needle_figures(const results::Table& spans);

/// From differences.csv: A - B by layer, and by task how far the preferences over layers lie apart ("differences").
std::vector<Figure> difference_figures(const results::Table& differences);

/// From needles.csv, at one of the budgets: accuracy by depth and prompt length, beside the share of the needle's
/// positions that replay says is kept, per policy ("needle_accuracy").
std::vector<Figure> needle_accuracy_figures(const results::Table& needles);

/// From outcomes.csv, over all prompts: divergence from the full cache and accuracy against the slots held
/// ("outcomes").
std::vector<Figure> outcome_figures(const results::Table& outcomes);

/// From calibration.csv, the mean over budgets: how each of replay's measures orders policies as the outcome does,
/// below what can be expected at most ("calibration").
std::vector<Figure> calibration_figures(const results::Table& calibration);

/// From predictions.csv: what replay predicts against the divergence that came of it, policies at all budgets
/// ("predictions").
std::vector<Figure> prediction_figures(const results::Table& predictions);

/// The tables of a result directory that figures are drawn from.
struct ResultTables {
  std::optional<results::Table> replay = {};
  std::optional<results::Table> budgets = {};
  std::optional<results::Table> positions = {};
  std::optional<results::Table> spans = {};
  std::optional<results::Table> kept_overlap = {};
  std::optional<results::Table> attention = {};
  std::optional<results::Table> tasks = {};
  std::optional<results::Table> concentration = {};
  std::optional<results::Table> overlap = {};
  std::optional<results::Table> future = {};
  std::optional<results::Table> maps = {};
  std::optional<results::Table> scorers = {};
  std::optional<results::Table> differences = {};
  std::optional<results::Table> outcomes = {};
  std::optional<results::Table> calibration = {};
  std::optional<results::Table> predictions = {};
  std::optional<results::Table> needles = {};

  /// Calls body(name, table) for each: "replay" stands for replay.csv.
  template <typename Self, typename Body>
  static void each(Self& self, const Body& body) {
    body("replay", self.replay);
    body("budgets", self.budgets);
    body("positions", self.positions);
    body("spans", self.spans);
    body("kept_overlap", self.kept_overlap);
    body("attention", self.attention);
    body("tasks", self.tasks);
    body("concentration", self.concentration);
    body("overlap", self.overlap);
    body("future", self.future);
    body("maps", self.maps);
    body("scorers", self.scorers);
    body("differences", self.differences);
    body("outcomes", self.outcomes);
    body("calibration", self.calibration);
    body("predictions", self.predictions);
    body("needles", self.needles);
  }
};
std::vector<Figure> all_figures(const ResultTables& tables);

}  // namespace evictlab::plots
