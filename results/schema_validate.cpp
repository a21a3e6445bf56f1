#include "results/schema_columns.hpp"

namespace evictlab::results {

void add_validate_tables(std::vector<TableSchema>& all) {
  using namespace columns;
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

}  // namespace evictlab::results
