#include "results/schema.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <type_traits>

#include "results/measures.hpp"

namespace evictlab::results {
namespace {

using Columns = std::vector<Column>;

Column text(const char* name, const char* meaning) { return {name, ColumnType::kText, "", meaning}; }
Column integer(const char* name, const char* unit, const char* meaning) {
  return {name, ColumnType::kInteger, unit, meaning};
}
Column number(const char* name, const char* unit, const char* meaning) {
  return {name, ColumnType::kNumber, unit, meaning};
}

Column prompt() { return text("prompt", "the prompt's id in the trace or prompts file"); }
Column task() { return text("task", "the prompt's task; may be empty"); }
Column document() {
  return text("document", "the text that the prompt was made from; empty: no other prompt is made from its text");
}
Column variant() { return text("variant", "the source that the policy follows: an authors' code base or the paper"); }
Column role() {
  return text("role", "`method` (competes), `control` (random, protect-only) or `ceiling` (reads the future, or full)");
}
Column budget() { return text("budget_requested", "the budget as asked for: slots, a ratio of the prompt, or bytes"); }
Column slots_held(const char* meaning = "stored slots per layer, divided by kv heads") {
  return number("slots_held", "slots", meaning);
}
/// What a comparison is at: see "Equal slots" in docs/analyses.md.
Column slots_compared(const char* meaning) { return number("slots_compared", "slots", meaning); }
Column layer() { return integer("layer", "", "the layer's index in the model"); }
Column prompt_length() { return integer("prompt_length", "positions", "positions of the prompt"); }
Column layer_or_all(const char* meaning) { return text("layer", meaning); }
Column count(const char* name, const char* meaning) { return integer(name, "prompts", meaning); }
Column documents() { return integer("documents", "documents", "that these prompts were made from"); }
Column status() {
  return text(
      "status",
      "`ok`; `infeasible`: the budget is below the protection, and measures are empty; `too-short`: the policy "
      "reads more queries than the prompt has, and measures are empty; `degenerate`: nothing was evicted, though "
      "the policy is not `full`");
}

template <typename... Parts>
Columns joined(const Parts&... parts) {
  Columns all;
  const auto add = [&all](const auto& part) {
    if constexpr (std::is_same_v<std::decay_t<decltype(part)>, Column>) {
      all.push_back(part);
    } else {
      all.insert(all.end(), part.begin(), part.end());
    }
  };
  (add(parts), ...);
  return all;
}

/// Policy and parameters, which together name a policy.
Columns policy_columns() {
  return {text("policy", "the policy's name"),
          text("parameters", "all of its parameters, in canonical order; empty for policies without any")};
}

/// The ends of the interval of the value before: "<prefix>low", "<prefix>high".
Columns interval_ends(const std::string& prefix, const std::string& unit) {
  return {{prefix + "low", ColumnType::kNumber, unit,
           "lower end of its 95 % bootstrap interval over prompts; empty for one prompt"},
          {prefix + "high", ColumnType::kNumber, unit, "upper end"}};
}

/// A value with the ends of its interval: "<name>", "<name>_low", "<name>_high".
Columns with_interval(const std::string& name, const std::string& unit, const std::string& meaning) {
  return joined(Column{name, ColumnType::kNumber, unit, meaning}, interval_ends(name + "_", unit));
}

/// A mean over random halvings of the documents.
Columns over_splits(const std::string& name, const std::string& unit, const std::string& meaning) {
  return {{name, ColumnType::kNumber, unit, meaning + "; mean over splits"},
          {name + "_low", ColumnType::kNumber, unit, "of 95 % of the splits, the lower end"},
          {name + "_high", ColumnType::kNumber, unit, "upper end"}};
}

Columns mean_with_interval(const char* meaning) { return joined(number("mean", "", meaning), interval_ends("", "")); }

Column measure_column(Measure measure) {
  const MeasureInfo& own = info(measure);
  return {std::string(own.column), ColumnType::kNumber, std::string(own.unit), std::string(own.definition)};
}

Columns measure_columns() {
  Columns columns;
  for (const MeasureInfo& own : measures()) {
    columns.push_back(measure_column(own.id));
    columns.back().meaning += fmt::format("; {} is better{}", own.better == Better::kHigher ? "higher" : "lower",
                                          own.tier == MeasureTier::kFull        ? "; full tier"
                                          : own.tier == MeasureTier::kGradients ? "; with gradients"
                                                                                : "");
    if (own.layers == OverLayers::kSum) columns.back().meaning += "; `all` is the sum over the layers";
    if (own.layers == OverLayers::kWhole) columns.back().meaning += "; of `all` alone";
    if (own.layers == OverLayers::kWorstSpan)
      columns.back().meaning += "; `all` is the least of the spans' means over the layers";
    if (own.layers == OverLayers::kPooled) columns.back().meaning += "; `all` is over all layers' queries together";
  }
  return columns;
}

/// What a live divergence on one prompt lies within.
Columns predicted_interval() {
  return {
      number("predicted_kl_low", "nats",
             "lower end of the 90 % prediction interval of the live divergence; empty where the calibration has fewer "
             "than nine documents"),
      number("predicted_kl_high", "nats", "upper end")};
}

Column calibrated_by() {
  return text(
      "calibration",
      "what `predicted_kl` rests on: empty: nothing; `learned`: runs of this model; `decode`: likewise, of runs "
      "that go on evicting while they decode; `extrapolated`: these, of other lengths, budgets or policies; "
      "`default`: runs of another model, without an interval");
}

/// Measures that a stretch of the answer has of its own.
Columns curve_measures() {
  Columns columns;
  for (const Measure measure :
       {Measure::kSquaredError, Measure::kRelativeSquaredError, Measure::kOutputRelativeSquaredError}) {
    columns.push_back(measure_column(measure));
  }
  columns.push_back(measure_column(Measure::kPredictedKl));
  return columns;
}

Column eviction() {
  return text("eviction", "`prompt`: policies that evict once, at its end; `decode`: those that go on while decoding");
}

Columns mass_share_columns(const char* meaning) {
  Columns columns;
  for (const char* name : {"positions_80", "positions_90", "positions_95", "positions_99"}) {
    columns.push_back(number(name, "positions", meaning));
  }
  return columns;
}

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
      {"curves", "replay --curves, validate", "a prompt, policy, budget and stretch of the answer, over all layers",
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

void add_validate_tables(std::vector<TableSchema>& all) {
  const Columns policy = policy_columns();
  const auto scores = [](const std::string& name, const std::string& meaning) -> Columns {
    return {{name, ColumnType::kNumber, "share", meaning},
            {name + "_after_first", ColumnType::kNumber, "share",
             "the same without the first answer token, which is then given; empty for answers of one token"}};
  };
  all.push_back(
      {"validate", "validate", "a prompt, turn, policy and budget in the running model",
       joined(
           prompt(), task(), document(), prompt_length(),
           integer("answer_length", "tokens", "tokens of the expected answer"),
           number("depth", "share", "where the prompts file says the answer lies; may be empty"),
           integer("turn", "", "1: the prompt's answer; 2, ...: follow-ups asked of the same compacted cache"), policy,
           variant(), role(), text("protection", "positions kept whatever their importance"),
           text("granularity", "who shares a kept set"), budget(),
           slots_held("held after the prompt, as budgets count"),
           integer("bytes", "bytes", "allocated by the runtime (float32) after the prompt"),
           integer("peak_bytes", "bytes", "the most allocated while the prompt was read"),
           number("kl", "nats",
                  "KL divergence of the next-token distribution from the full cache's, teacher-forced, mean over the "
                  "answer's tokens after token n; lower is better"),
           number("nll", "nats",
                  "negative log-likelihood of these tokens and of the stop's first, mean; lower is better"),
           number("top1_agreement", "share",
                  "tokens whose most probable continuation is the full cache's; higher is better"),
           scores("accuracy", "the score by the prompt's metric of what the model writes; higher is better"),
           scores("exact_match", "1 where the words written are the answer's"), scores("f1", "F1 over words"),
           scores("rouge_l", "F1 of the longest common subsequence of words"),
           integer("output_length", "tokens", "tokens written"), number("decode_ms", "ms", "time per written token"),
           number("tokens_per_second", "1/s", "tokens written per second"),
           number("overlap", "share", "positions held by both the live run and the replay, mean over kept sets"),
           integer("mismatches", "positions", "held by only one of the two"),
           number("mismatch_margin", "ratio", "how far apart the scores of those lie at most, relative"), status())});
  all.push_back({"outcomes", "validate", "a turn, task, budget, policy and quantity of validate.csv",
                 joined(integer("turn", "", "as in validate.csv"), text("task", "a task, or `all`: all prompts"),
                        budget(), policy, role(), text("quantity", "a column of validate.csv"),
                        count("prompts", "prompts with a value"), mean_with_interval("mean over these prompts"),
                        slots_compared("the held slots at which the row is compared, mean over prompts: those of its "
                                       "budget where the policy's budgets reach them, else its own"),
                        number("mean_compared", "",
                               "the mean with the slots of its budget, between the policy's budgets; empty where they "
                               "do not reach them"),
                        with_interval("to_full", "", "minus the full cache's, paired"),
                        with_interval("to_best", "",
                                      "minus the best method's, both with the slots compared, paired; empty for "
                                      "ceilings"))});
  all.push_back(
      {"calibration", "validate",
       "a kind of eviction, a budget, then `all` for their mean, and a measure of replay.csv",
       joined(
           eviction(), budget(), text("task", "a task, or `all`: all prompts"),
           text("measure", "a column of replay.csv"),
           integer("policies", "policies", "methods ranked; controls and ceilings are left out"),
           integer("left_out", "policies",
                   "methods left out: their budgets do not reach the slots that the others hold"),
           count("prompts", "prompts that they are ranked on"), documents(),
           with_interval(
               "tau_b", "",
               "same prompts: Kendall's tau-b over policies of the measure's means and kl's; 1: the same order. "
               "No ceiling applies. predicted_kl: each document's by a map that the others taught"),
           number("tau_b_log", "", "the same against means of log kl"),
           with_interval(
               "transfer", "",
               "tau-b of the measure on one half of the documents with kl on the other, mean over 200 halvings. "
               "predicted_kl: chosen and learned on the first half"),
           number("transfer_log", "", "the same against means of log kl"),
           with_interval("ceiling", "", "noise ceiling of `transfer`: kl on one half with kl on the other"),
           number("ceiling_log", "", "the same of means of log kl"),
           with_interval("to_best", "", "tau_b minus the best measure's, paired over draws of documents"),
           with_interval("to_retained_mass", "", "tau_b minus that of retained_mass, paired"),
           with_interval("transfer_to_retained_mass", "", "transfer minus that of retained_mass, paired"),
           text("chosen", "`yes`: the measure that calibration.json maps to KL, chosen by `transfer` over all prompts"),
           text("status", "`ok`, or why cells are empty"))});
  all.push_back(
      {"prediction_errors", "validate", "what is foretold, and for which runs",
       joined(eviction(),
              text("level", "`prompt`: a policy and budget on one prompt; `mean`: over the held-out documents"),
              text("runs",
                   "`methods and controls`, which teach the map; `ceilings`, which read the future and never teach; "
                   "`policies left out`: each by a map that saw no run of it"),
              documents(), integer("splits", "", "random halvings: one half teaches, the other is foretold"),
              over_splits("median_factor", "ratio", "by which the live divergence and the one foretold differ, median"),
              over_splits("nine_of_ten_factor", "ratio", "the same, 90th percentile"),
              over_splits("coverage", "share", "of live divergences, those within their 90 % interval"))});
  all.push_back({"predictions", "validate", "a budget, policy and measure of replay.csv",
                 joined(budget(), policy, role(), text("measure", "a column of replay.csv"),
                        with_interval("predicted", "", "the measure, mean over prompts"),
                        with_interval("kl", "nats", "the live KL divergence, mean over prompts"))});
  all.push_back({"disagreements", "validate", "a budget and pair of policies that the measure puts in the wrong order",
                 joined(budget(), text("measure", "the chosen measure, or the best where none is chosen"),
                        text("predicted_better", "the policy that the measure prefers"),
                        text("better", "the policy of lower KL divergence"),
                        number("measure_difference", "", "by how much the measure prefers the first, in its own unit"),
                        number("kl_difference", "nats", "by how much its KL divergence is larger, paired over prompts"),
                        interval_ends("kl_", "nats"))});
  all.push_back(
      {"race", "validate --undecided", "a budget and pair of methods",
       joined(
           budget(), text("policy", "the one that is ahead: the policy's name"), text("parameters", "its parameters"),
           text("other_policy", "the other policy's name"), text("other_parameters", "its parameters"),
           integer("documents", "documents",
                   "that the two were compared on: live until one of them dropped out, or all that were replayed"),
           number("lead", "",
                  "tanh(ln(kl of the other / its own)): of live KL the mean over documents; of predicted KL that of "
                  "the means"),
           number("lead_low", "",
                  "live: lower end of the confidence sequence, which holds after every document and for all pairs of "
                  "all budgets together with 95 %; replay: the least that the calibration's intervals allow"),
           number("lead_high", "", "upper end"),
           text("decided_by",
                "`replay`: predicted KL separates them; `live`: the race did, which leaves the other out of the "
                "rest; `open`: nothing did before the race ended or one dropped out"))});
  all.push_back({"needles", "validate", "a prompt with a span `needle`, policy and budget",
                 joined(prompt(), task(), prompt_length(),
                        number("depth", "share", "where the needle begins: 0 at the prompt's beginning, 1 at its end"),
                        policy, role(), budget(), number("accuracy", "share", "accuracy_after_first of validate.csv"),
                        number("retained", "share", "of the needle's positions, those kept, mean over layers"))});
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
      "read them. This page is generated from `results/schema.cpp` and `results/measures.def`; a test compares it with "
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
