#include "lab/validation_rows.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "core/interrupt.hpp"
#include "results/rows.hpp"
#include "results/run_table.hpp"
#include "results/schema.hpp"
#include "results/statistics.hpp"
#include "sim/replay/agreement.hpp"
#include "sim/replay/replay_rows.hpp"

namespace evictlab::lab {
namespace {

using runtime::CompactedRun;
using runtime::Reference;

/// By policy and budget: what replay keeps of the prompt.
using Retentions = std::map<std::pair<const sim::Policy*, const sim::Budget*>, sim::Retention>;

/// What a row begins with.
struct RowKey {
  const runtime::TokenizedPrompt& prompt;
  const Reference& reference;
  const sim::Policy& policy;
  const sim::Budget& budget;
  std::size_t turn;
};

results::Row key_row(const ValidationPlan& plan, const RowKey& key, const results::Table& table) {
  const runtime::Turn& turn = key.reference.turns[key.turn];
  results::Row row(table);
  row.set("prompt", key.prompt.id)
      .set("task", key.prompt.task)
      .set("document", key.prompt.document)
      .set("prompt_length", key.reference.prompt_length())
      .set("answer_length", turn.answer().size())
      .set("depth", key.prompt.depth)
      .set("turn", key.turn + 1)
      .set("variant", key.policy.variant)
      .set("protection", key.policy.protection.text())
      .set("granularity", sim::granularity_name(key.policy.granularity));
  set_run(row, {key.policy.name, key.policy.parameters}, key.policy.role, sim::requested(key.budget, plan.info));
  return row;
}

/// Of the layers of a prompt together.
struct LiveAgreement {
  double overlap = 0.0;
  trace::Index mismatches = 0;
  std::optional<double> margin;
};

std::optional<LiveAgreement> agreement_with(const Retentions& replayed, const sim::Policy& policy,
                                            const sim::Budget& budget, const sim::Retention& live,
                                            const std::vector<sim::Importance>& importance) {
  const auto found = replayed.find({&policy, &budget});
  if (found == replayed.end()) return std::nullopt;
  LiveAgreement all;
  for (std::size_t layer = 0; layer < live.layers.size(); ++layer) {
    const trace::RowMatrix* scores = importance[layer].scores.get();
    const bool fits = scores != nullptr && scores->rows() == live.layers[layer].sets();
    const sim::Agreement one =
        sim::retention_agreement(live.layers[layer], found->second.layers[layer], fits ? scores : nullptr);
    all.overlap += one.overlap / static_cast<double>(live.layers.size());
    all.mismatches += one.mismatches;
    if (one.margin) all.margin = std::max(all.margin.value_or(0.0), *one.margin);
  }
  return all;
}

void set_scores(results::Row& row, const runtime::WrittenOutcome& written, const std::string& metric) {
  const auto set = [&](const std::string& column, const auto& value) {
    row.set(column, value(written.whole));
    if (written.after_first) row.set(column + "_after_first", value(*written.after_first));
  };
  set("accuracy", [&](const runtime::TextScores& scores) { return scores.by_name(metric); });
  set("exact_match", [](const runtime::TextScores& scores) { return scores.exact; });
  set("f1", [](const runtime::TextScores& scores) { return scores.f1; });
  set("rouge_l", [](const runtime::TextScores& scores) { return scores.rouge_l; });
}

/// What the model writes by itself after the turns before, which it is given.
runtime::WrittenOutcome written_answer(const ValidationPlan& plan, const Reference& reference, std::size_t turn,
                                       const CompactedRun& run) {
  const runtime::Turn& question = reference.turns[turn];
  const auto begin = [&] {
    runtime::Continuation continuation = run.continued();
    for (std::size_t before = 0; before < turn; ++before) continuation.read(reference.turns[before].tokens);
    return continuation;
  };
  const std::size_t most = plan.most_tokens > 0 ? plan.most_tokens : runtime::most_tokens(question, true);
  return runtime::written_outcome(question, reference.first_logits, begin, plan.text, most);
}

void set_written(results::Row& row, const runtime::TokenizedPrompt& prompt, std::size_t turn,
                 const runtime::WrittenOutcome& written) {
  row.set("output_length", written.length);
  // A generated future is the model's own: it is no answer to be right or wrong.
  if (turn > 0 || prompt.generate == 0) set_scores(row, written, prompt.metric);
  if (written.steps > 0 && written.seconds > 0.0) {
    const auto steps = static_cast<double>(written.steps);
    row.set("decode_ms", 1e3 * written.seconds / steps).set("tokens_per_second", steps / written.seconds);
  }
}

/// One run's rows, a turn each; the divergence at every step of the first.
std::vector<double> add_run(const ValidationPlan& plan, const runtime::TokenizedPrompt& prompt,
                            const Reference& reference, const sim::Policy& policy, const sim::Budget& budget,
                            const std::vector<sim::Importance>& importance, const Retentions& replayed,
                            results::Table& table) {
  const CompactedRun run(plan.model, reference, policy, budget.real_slots(plan.info, reference.prompt_length()),
                         importance);
  const auto agreement = agreement_with(replayed, policy, budget, run.retention(), importance);
  const bool degenerate = run.nothing_evicted() && !policy.keeps_everything();
  const auto status = degenerate ? results::RunStatus::kDegenerate : results::RunStatus::kOk;
  runtime::Continuation forced = run.continued();
  std::vector<double> kl_by_step;
  for (std::size_t turn = 0; turn < reference.turns.size(); ++turn) {
    const runtime::Turn& question = reference.turns[turn];
    runtime::ForcedOutcome outcome =
        runtime::forced_outcome(question, reference.logits[turn], forced.read(question.tokens));
    if (turn == 0) kl_by_step = std::move(outcome.kl_by_step);
    results::Row row = key_row(plan, {prompt, reference, policy, budget, turn}, table);
    row.set("slots_held", run.held_slots() / static_cast<double>(plan.info.layers))
        .set("bytes", run.cache().allocated_bytes())
        .set("peak_bytes", run.cache().peak_bytes())
        .set("kl", outcome.kl)
        .set("nll", outcome.nll)
        .set("top1_agreement", outcome.top1_agreement)
        .set("status", results::status_name(status));
    if (!plan.teacher_forced) set_written(row, prompt, turn, written_answer(plan, reference, turn, run));
    if (agreement) {
      row.set("overlap", agreement->overlap)
          .set("mismatches", agreement->mismatches)
          .set("mismatch_margin", agreement->margin);
    }
    table.add_row(std::move(row));
  }
  return kl_by_step;
}

/// By policy and budget as tables have them: the live divergence at every step of the first turn.
using KlBySteps = std::map<std::pair<results::PolicyKey, results::Cell>, std::vector<double>>;

/// curves.csv with the live divergence, mean over the steps of each stretch.
results::Table with_live_kl(const results::Table& curves, const KlBySteps& live) {
  results::Table table(curves.columns());
  const std::size_t kl_column = curves.column("kl");
  const std::size_t budget_column = curves.column(results::kBudgetColumn);
  for (const results::RowView view : results::RowsOf(curves)) {
    std::vector<results::Cell> cells = curves.row(view.row());
    const auto found = live.find({view.policy(), cells[budget_column]});
    const auto first = static_cast<std::size_t>(view.number("step_first").value_or(1.0)) - 1;
    const auto steps = static_cast<std::size_t>(view.number("steps").value_or(0.0));
    if (found != live.end() && first + steps <= found->second.size()) {
      cells[kl_column] = results::mean(std::span(found->second).subspan(first, steps));
    }
    table.add_row(std::move(cells));
  }
  return table;
}

/// The rows of a policy that cannot run on the prompt.
void add_not_run(const ValidationPlan& plan, const runtime::TokenizedPrompt& prompt, const Reference& reference,
                 const sim::Policy& policy, const sim::Budget& budget, results::RunStatus status,
                 results::Table& table) {
  for (std::size_t turn = 0; turn < reference.turns.size(); ++turn) {
    results::Row row = key_row(plan, {prompt, reference, policy, budget, turn}, table);
    row.set("status", results::status_name(status));
    table.add_row(std::move(row));
  }
}

/// What replay says of the same prompt; `retention` receives what it keeps.
sim::ReplayResult replayed(const ValidationPlan& plan, const Reference& reference,
                           std::function<void(const sim::RetentionRecord&)> retention) {
  sim::ReplayOptions options;
  options.positions = true;
  options.retention = std::move(retention);
  return sim::replay(recorded_trace(plan, reference), plan.policies, plan.budgets, options);
}

}  // namespace

trace::MemoryTrace recorded_trace(const ValidationPlan& plan, const Reference& reference) {
  trace::MemoryTrace trace(plan.info);
  trace.add_prompt(reference.recorded);
  trace.set_output_weights(plan.output_weights);
  return trace;
}

Reference read_prompt(const ValidationPlan& plan, const runtime::TokenizedPrompt& prompt) {
  Reference reference =
      runtime::read_reference(plan.model, plan.info, prompt, plan.record, [](double) { core::throw_if_interrupted(); });
  reference.output_weights = plan.output_weights;
  return reference;
}

sim::ReplayResult replay_prompt(const ValidationPlan& plan, const Reference& reference) {
  return replayed(plan, reference, {});
}

ValidatedPrompt validate_prompt(const ValidationPlan& plan, const runtime::TokenizedPrompt& prompt,
                                const Reference& reference, const std::function<void(double)>& progress) {
  ValidatedPrompt result{results::new_table("validate"), sim::empty_result()};
  Retentions retentions;
  if (plan.replay) {
    result.replay = replayed(plan, reference, [&](const sim::RetentionRecord& record) {
      retentions[{&record.policy, &record.budget}] = record.retention;
    });
  }
  const auto asked = static_cast<trace::Index>(prompt.future.size()) + prompt.generate;
  if (std::cmp_less(reference.turns.front().tokens.size(), asked)) {
    ++result.replay.notes["future: the model ends the text before the tokens asked for"].runs;
  }
  KlBySteps live;
  double done = 0.0;
  for (const sim::Policy& policy : plan.policies) {
    const auto runs_live = [&](const sim::Budget& budget) { return !plan.runs_live || plan.runs_live(policy, budget); };
    if (std::ranges::none_of(plan.budgets, runs_live)) continue;
    std::vector<sim::Importance> importance;
    if (!sim::is_too_short(policy, reference.prompt_length())) importance = runtime::importance_of(policy, reference);
    for (const sim::Budget& budget : plan.budgets) {
      if (!runs_live(budget)) continue;
      core::throw_if_interrupted();
      const double slots = budget.real_slots(plan.info, reference.prompt_length());
      const results::RunStatus status = sim::run_status(policy, plan.info, reference.recorded.info, slots);
      if (status == results::RunStatus::kOk) {
        live[{{policy.name, policy.parameters}, sim::requested(budget, plan.info)}] =
            add_run(plan, prompt, reference, policy, budget, importance, retentions, result.validate);
      } else {
        add_not_run(plan, prompt, reference, policy, budget, status, result.validate);
      }
      progress(done += 1.0);
    }
  }
  result.replay.curves = with_live_kl(result.replay.curves, live);
  return result;
}

}  // namespace evictlab::lab
