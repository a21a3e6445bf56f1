#include "results/schema.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "results/schema_columns.hpp"

namespace evictlab::results {
namespace {

using namespace columns;

void add_replay_tables(std::vector<TableSchema>& all) {
  const Columns policy = policy_columns();
  const Columns layer_of_run = joined(prompt(), policy, role(), budget(), layer());
  all.push_back(
      {"replay", "replay, sweep, validate", "a prompt, policy, budget and layer, then one for all layers",
       joined(
           prompt(), task(), document(), integer("T", "queries", "future queries recorded"), policy, variant(), role(),
           text("protection", "positions kept whatever their importance"),
           text("granularity", "who shares a kept set: each query head, each kv head, all heads of a layer"), budget(),
           slots_held("stored slots of the layer, divided by kv heads; for `all` the mean"),
           integer("bytes", "bytes", "held by the layer in the trace's data type; for `all` the sum"),
           integer("bytes_padded", "bytes",
                   "the same where all kept sets of a layer are stored as long as its longest"),
           integer("bytes_paged", "bytes", "the same where every kept set is stored in whole blocks of 16 positions"),
           layer_or_all("the layer's index, or `all`: means over the layers, or sums where a measure says so"),
           measure_columns(), predicted_interval(), calibrated_by(),
           number("fisher_kl_error", "nats", "standard error of fisher_kl over the draws of gradients"), status())});
  all.push_back(
      {"curves", "replay, validate", "a prompt, policy, budget and stretch of the answer, over all layers",
       joined(prompt(), task(), document(), policy, role(), budget(),
              slots_held("stored slots after the prompt, divided by kv heads; mean over the layers"),
              integer("step_first", "", "the stretch's first step: the model reads the answer's first token at step 1"),
              integer("step_last", "", "its last step, twice that of the stretch before; the answer may end earlier"),
              integer("steps", "", "how many of its steps the answer has: means are over these"), curve_measures(),
              number("kl", "nats", "live KL divergence from the full cache; of validate alone"), predicted_interval(),
              calibrated_by())});
  all.push_back(
      {"budgets", "replay, sweep", "a prompt, policy, budget, layer and kept set",
       joined(layer_of_run, integer("head", "", "the kept set's index in its layer: a query head, kv head, or 0"),
              integer("slots", "positions", "positions that the set holds"))});
  all.push_back({"positions", "replay", "a policy, budget, layer and part of the prompt",
                 joined(policy, role(), budget(), layer(), integer("depth_bin", "", "0..19: the twentieth of a prompt"),
                        integer("prompts", "prompts", "over which the mean is taken: those that the policy ran on"),
                        number("share", "share", "of the layer's kept slots, those that lie in this part, mean"))});
  all.push_back({"spans", "replay, validate", "a prompt, policy, budget, named span and layer, then one for all layers",
                 joined(prompt(), task(), prompt_length(),
                        number("depth", "share", "where the span begins: 0 at the prompt's beginning, 1 at its end"),
                        policy, role(), budget(), layer_or_all("the layer's index, or `all`: the mean over the layers"),
                        text("span", "the span's name; spans of one name are one row, their mean"),
                        number("retained", "share", "of the span's positions, those kept; mean over kept sets"))});
  all.push_back(
      {"trajectory", "replay, sweep", "a prompt, policy, budget and layer while the prompt is read",
       joined(layer_of_run, integer("bytes_before", "bytes", "held by all layers so far, this one's cache still whole"),
              integer("bytes_after", "bytes", "held after this layer's eviction"))});
  all.push_back({"kept_overlap", "replay", "a prompt and pair of policies, at the middle one of the budgets",
                 joined(prompt(), task(), policy, text("other_policy", "the other policy's name"),
                        text("other_parameters", "its parameters"), budget(),
                        number("overlap", "share",
                               "Jaccard index of the positions that a query head sees, mean over query heads and "
                               "layers"))});
  all.push_back(
      {"constraints", "replay --constrain", "a budget and policy, on the prompts that it serves with and without",
       joined(budget(), policy, role(), text("constraint", "the constraints, as given"),
              count("prompts", "prompts that both forms of the policy serve"), measure_column(Measure::kRetainedMass),
              number("constrained_retained_mass", "share", "the same under the constraints"),
              slots_compared("the held slots of the difference, mean over prompts"),
              with_interval("difference", "share",
                            "constrained minus free with the slots compared, paired over prompts; empty where the "
                            "budgets reach no slots that both hold"),
              measure_column(Measure::kRelativeLoss),
              number("constrained_relative_loss", "ratio", "the same under the constraints"), slots_held(),
              number("constrained_slots_held", "slots", "the same under the constraints"))});
}

void add_sweep_tables(std::vector<TableSchema>& all) {
  const Columns policy = policy_columns();
  all.push_back(
      {"summary", "sweep", "a budget and policy, best first",
       joined(budget(),
              integer("rank", "",
                      "1 for the best at equal held slots; empty where there is nothing to compare: infeasible on "
                      "every prompt, or with budgets that do not reach the slots compared"),
              policy, role(), count("prompts", "prompts that the policy serves"),
              count("infeasible", "prompts for which the budget is below the protection"),
              count("too_short", "prompts with fewer queries than the policy reads"),
              count("degenerate", "prompts of which nothing was evicted"), slots_held("held, mean over prompts"),
              slots_compared("the held slots at which the row is compared, mean over prompts: those of its budget "
                             "where it is ranked, else its own"),
              text("ranked_by",
                   "the measure: predicted_kl, else squared_error, else retained_mass, by what every run has"),
              number("compared", "",
                     "mean over prompts of this measure with the slots compared, between the policy's budgets: what "
                     "ranks it"),
              with_interval("to_best", "",
                            "this measure minus the best method's, both with the slots compared, paired on the "
                            "prompts both serve; empty for the best method, for ceilings, and where the best "
                            "method's budgets do not reach the slots"),
              with_interval("to_random", "", "the same against the control `random`"),
              number("predicted_kl", "nats", "foretold, mean over prompts, with the slots held"),
              number("predicted_kl_low", "nats",
                     "lower end of the 90 % prediction interval of the live mean over as many documents"),
              number("predicted_kl_high", "nats", "upper end"),
              with_interval("retained_mass", "share", "mean over layers and prompts, with the slots held"),
              measure_column(Measure::kSquaredError), measure_column(Measure::kExactLoss),
              measure_column(Measure::kRelativeLoss), measure_column(Measure::kRegret))});
  all.push_back(
      {"headroom", "sweep", "a prompt, policy and budget: the gap to the oracle at equal memory",
       joined(prompt(), task(), policy, role(), budget(), slots_held(), measure_column(Measure::kRetainedMass),
              number("scoring", "share", "gain in retained mass if the policy's own counts held the future's ranking"),
              number("allocation", "share",
                     "gain if the policy's own ranking were given the best counts found; empty where slots cannot be "
                     "divided freely"),
              number("allocation_bound", "share", "no division of the slots gains more than this"),
              number("both", "share", "gain of the future's ranking with the best counts"))});
  all.push_back(
      {"tune", "sweep --tune", "a budget and policy, with the parameters selected for it",
       joined(budget(), policy, role(), slots_held("held, mean over all prompts"),
              slots_compared("the slots that the policy holds with its parameters as given, mean over all prompts: "
                             "retained masses are with these"),
              count("prompts_chosen_on", "prompts that the parameters were selected on: every second one of each task"),
              number("retained_mass_chosen_on", "share", "mean over these"), count("prompts", "held-out prompts"),
              number("retained_mass", "share", "mean over the held-out prompts"),
              number("given_retained_mass", "share", "the same with the policy's parameters as given"),
              with_interval("gain", "share", "selected minus given, paired over the held-out prompts"))});
}

void add_analysis_tables(std::vector<TableSchema>& all) {
  all.push_back(
      {"attention", "analyze", "a prompt, layer and query head",
       joined(
           prompt(), task(), layer(), integer("head", "", "the query head"),
           number("entropy_nats", "nats", "entropy of attention, mean over window rows"),
           number("normalized_entropy", "share", "the same, each row divided by ln of its prefix"),
           number("effective_positions", "positions", "exp of the entropy, mean over rows"),
           number("sink_mass", "share", "attention on the first `--sinks` positions, mean over rows"),
           number("recent_mass", "share", "on the last `--recent` positions up to the query's own, without sinks"),
           number("heavy_mass", "share", "on the k other positions with most window mass"),
           number("rest_mass", "share", "on everything else; the four sum to 1"),
           mass_share_columns("fewest positions that hold this percentage of the summed window mass"),
           number(
               "retrieval_score", "share",
               "of the future queries, those whose most attended prompt position lies in the span `needle`; full tier"),
           text("kind",
                "`sink`, `local`, `retrieval` or `dispersed`: by the first of sink, recent and heavy mass that "
                "is at least 0.5"))});
  all.push_back(
      {"layers", "analyze", "a prompt and layer",
       joined(prompt(), task(), layer(),
              number("dispersion", "nats", "CAKE's H over the last `--window` rows, summed over heads and rows"),
              number("shift", "", "CAKE's V: temporal variance of attention, summed over heads and positions"),
              number("preference", "", "CAKE's layer preference H^(1/tau1) V^(1/tau2)"),
              number("preference_share", "share", "of the sum of the preferences over layers"),
              number("dispersion_normalized", "share", "H / (heads * rows * ln positions)"),
              number("shift_normalized", "", "V / heads"),
              number("retained_share", "share",
                     "DynamicKV: of the largest pooled window sums of all layers and heads, those in this layer"),
              mass_share_columns("mean over heads of the column of attention.csv"),
              number("lazy_mass", "share",
                     "SimLayerKV: the last query's attention on the first 4 and last 32 positions, mean over heads"),
              number("head_spread", "ratio", "standard deviation over heads of positions_90, divided by their mean"),
              number("window_hit_rate", "share", "of the future's top set, those in the window's, mean over heads"),
              number("group_cost", "share",
                     "mass of the future's top sets lost when the query heads of a kv group share one"),
              number("head_overlap", "share",
                     "Jaccard index of the window's top sets, mean over pairs of heads of different kv groups"),
              number("group_overlap", "share", "the same over pairs inside a kv group"),
              number("run_length", "positions", "mean length of runs of consecutive positions in the top sets"))});
  all.push_back({"concentration", "analyze", "a prompt, layer, query head and fraction of positions",
                 joined(prompt(), task(), layer(), integer("head", "", "the query head"),
                        number("fraction", "share", "of the positions"),
                        number("mass", "share", "window mass on that many most attended positions"))});
  all.push_back(
      {"overlap", "analyze", "a prompt and pair of layers",
       joined(prompt(), task(), layer(), integer("other_layer", "", "the other layer"),
              number("overlap", "share", "Jaccard index of the layers' top sets, by window mass summed over heads"))});
  all.push_back({"future", "analyze", "a prompt, layer and future query; full tier",
                 joined(prompt(), task(), layer(), integer("step", "", "the future query, from 0"),
                        number("hit_rate", "share", "of this query's top set, those in the window's, mean over heads"),
                        number("drift", "share",
                               "1 - Jaccard index of this query's top set with that of query 0, mean over heads"))});
  all.push_back({"maps", "analyze", "a layer, window query and part of the prompt, of the first prompt of every task",
                 joined(prompt(), task(), prompt_length(), layer(),
                        integer("query", "", "the first position of this bin of window queries"),
                        integer("depth_bin", "", "0..63: the part of the prompt"),
                        number("attention", "share", "mean over heads, then the largest value of the cell"))});
  all.push_back({"tasks", "analyze", "a task, table, quantity and layer",
                 joined(text("task", "a task, or `all`: all prompts"), text("table", "`layers` or `attention`"),
                        text("quantity", "a column of that table"), layer(),
                        mean_with_interval("mean over prompts, for attention.csv of the mean over heads"),
                        count("prompts", "prompts with a value"))});
  all.push_back(
      {"scorers", "analyze", "a prompt, layer and policy: its scorer against the future",
       joined(prompt(), task(), layer(), policy_columns(), role(),
              number("spearman", "", "rank correlation of importance and future mass over unprotected positions"),
              number("recall", "share", "of the future's top set of unprotected positions, those in the scorer's"))});
  all.push_back(
      {"differences", "analyze A B", "a task, quantity of layers.csv and layer",
       joined(text("task", "a task that both recordings have, or `all`: all prompts"),
              text("quantity",
                   "a column of layers.csv; `preference_relative` and `retained_relative`: times the number of "
                   "layers; `preference_distance`: total variation of the mean preference shares"),
              integer("layer_a", "", "the layer of A"),
              integer("layer_b", "", "the layer of B at the nearest relative depth"),
              number("mean_a", "", "mean over A's prompts"), number("mean_b", "", "mean over B's prompts"),
              number("difference", "", "A - B"), interval_ends("", ""),
              text("paired", "`yes`: on the prompts of the same ids; `no`: as independent samples"),
              count("prompts_a", "prompts of A"), count("prompts_b", "prompts of B"))});
}

/// What published methods read of a layer, and give it.
Columns rule_columns() {
  return {number("preference_share", "share", "CAKE's preference: the column of layers.csv; empty for a kv head"),
          number("retained_share", "share", "DynamicKV's: the column of layers.csv; empty for a kv head"),
          number("cake_share", "share",
                 "of all positions that `cake` keeps at this budget, those in this layer; empty for a kv head, and "
                 "where the trace cannot serve the policy"),
          number("dynamickv_share", "share", "the same of `dynamickv`"),
          number("pyramidkv_share", "share", "the same of `pyramidkv`"),
          number("sink_mass", "share", "as in attention.csv: mean over the query heads of the layer or kv head"),
          number("recent_mass", "share", "the same"),
          number("heavy_mass", "share", "the same")};
}

void add_sensitivity_tables(std::vector<TableSchema>& all) {
  const char* const commands = "analyze --sensitivity, validate --sensitivity";
  const Columns run = joined(
      policy_columns(), role(),
      text("budget_requested", "the count of the evicted layer or kv head, as asked for: slots, ratio or bytes"));
  const Columns site = {integer("layer", "", "the layer that is evicted; all others keep everything"),
                        text("head", "the kv head of it that is evicted, the others keep everything; `all`: all are")};
  const Column kl = number("kl", "nats",
                           "live: KL divergence of the next-token distribution from the full cache's, as in "
                           "validate.csv; empty where the model did not run");
  const Column nll =
      number("nll_increase", "nats", "live: negative log-likelihood of the answer minus the full cache's");
  const Column top1 = number("top1_agreement", "share", "live: as in validate.csv");
  all.push_back({"sensitivity", commands, "a prompt, policy, budget, layer and kv head, then all heads of the layer",
                 joined(prompt(), task(), run, site, measure_columns(), kl, nll, top1, rule_columns(), status())});
  all.push_back(
      {"sensitivity_summary", commands, "a policy, budget, task, layer and kv head: means over prompts",
       joined(run, text("task", "a task, or `all`: all prompts"), site, count("prompts", "prompts of the task"),
              with_interval("kl", "nats", kl.meaning), with_interval("nll_increase", "nats", nll.meaning), top1,
              with_interval("squared_error", "squared L2", "the measure"),
              with_interval("relative_squared_error", "ratio", "the measure"),
              with_interval("retained_mass", "share", "the measure"), rule_columns())});
  all.push_back(
      {"sensitivity_agreement", commands, "a policy, budget, kind of site, target and quantity",
       joined(run, text("sites", "`layers`, or `heads`: the kv heads of all layers together"),
              text("target",
                   "what the sites are ranked by: `kl` live, or `relative_squared_error` offline (`squared_error` "
                   "where that was not measured)"),
              text("quantity",
                   "a column of sensitivity.csv that ranks them too; measures are turned so that larger is "
                   "worse, shares and masses are taken as they are"),
              count("prompts", "prompts with both at every site"),
              with_interval("tau_b", "",
                            "Kendall's tau-b over sites of the means over prompts; 1: the same order, so that a rule "
                            "gives most where eviction costs most"),
              with_interval("spearman", "", "Spearman's rank correlation of the same"),
              with_interval("prompt_tau_b", "", "tau-b over sites of each prompt's own values, mean over prompts"),
              number("ceiling", "",
                     "noise ceiling: tau-b of the target over one half of the prompts with the other's, mean over 100 "
                     "halvings"))});
}

void add_fit_tables(std::vector<TableSchema>& all) {
  const Column budget = integer("budget_requested", "slots per kv head", "the budget at which choices are made");
  all.push_back(
      {"fit", "fit", "a choice of scorers, axis, weight of equal budgets, task and budget: judged on what is held out",
       joined(text("level", "who has a scorer of its own: `model`, `layer` or `head`"),
              text("scorer", "at level `model`: the policy whose scorer it is"),
              text("axis", "what curves are averaged along: `count` of positions, or `share` of the prompt"),
              number("uniform_weight", "share", "of equal budgets in those given; 1: all are equal"),
              text("task", "a task, or `all`: mean over tasks"), budget,
              number("loss", "of `--unit`",
                     "mean over prompts of what single heads lose, summed over heads, fitted to other tasks or "
                     "documents"),
              text("chosen", "`yes`: this is what was fitted in the end"))});
  all.push_back({"fit_budgets", "fit", "a layer, kv head and budget",
                 joined(integer("layer", "", "of the model"), integer("head", "", "kv head"),
                        text("scorer", "the policy whose scorer ranks its positions"),
                        integer("sinks", "positions", "first positions that it holds before others"),
                        integer("recent", "positions", "last positions that it holds before others"), budget,
                        integer("positions", "", "what it gets of a prompt of the middle length fitted to"))});
}

std::vector<TableSchema> all_schemas() {
  std::vector<TableSchema> all;
  add_replay_tables(all);
  add_sweep_tables(all);
  add_validate_tables(all);
  add_analysis_tables(all);
  add_sensitivity_tables(all);
  add_fit_tables(all);
  return all;
}

const char* type_name(ColumnType type) {
  return type == ColumnType::kText ? "text" : type == ColumnType::kInteger ? "integer" : "number";
}

}  // namespace

const std::vector<TableSchema>& schemas() {
  static const std::vector<TableSchema> all = all_schemas();
  return all;
}

const TableSchema& schema(std::string_view table) {
  const auto found = std::ranges::find(schemas(), table, &TableSchema::name);
  if (found == schemas().end()) throw std::invalid_argument(fmt::format("no command writes a table '{}'", table));
  return *found;
}

Table new_table(std::string_view table) {
  std::vector<std::string> names;
  for (const Column& column : schema(table).columns) names.push_back(column.name);
  return Table(std::move(names));
}

std::string schema_page() {
  std::string page =
      "# Result tables\n\n"
      "Every table that a command writes, and each of its columns. Tables are tidy CSV: one observation a row. An "
      "empty cell was\n"
      "not measured: the trace does not hold what it needs, or there is nothing to compare. [analyses.md](analyses.md) "
      "says how to\n"
      "read them. This page is generated from `results/schema*.cpp` and `results/measures.def`; a test compares it "
      "with "
      "them, and\n"
      "rewrites it when the environment variable `EVICTLAB_UPDATE_DOCS` is set.\n\n"
      "A text that a spreadsheet would run as a formula, because it begins with `=`, `+`, `-`, `@`, a tab or a line "
      "break, "
      "has an apostrophe\n"
      "in front. `evictlab` and its Python package remove the apostrophe when they read the table.\n";
  for (const TableSchema& table : schemas()) {
    page += fmt::format(
        "\n## {}.csv\n\nWritten by `{}`. One row: {}.\n\n| column | type | unit | meaning |\n| --- | --- | --- | --- "
        "|\n",
        table.name, table.commands, table.row);
    for (const Column& column : table.columns) {
      page +=
          fmt::format("| `{}` | {} | {} | {} |\n", column.name, type_name(column.type), column.unit, column.meaning);
    }
  }
  return page;
}

}  // namespace evictlab::results
