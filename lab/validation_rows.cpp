#include "lab/validation_rows.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "core/interrupt.hpp"
#include "sim/replay/agreement.hpp"
#include "sim/replay/replay_rows.hpp"

namespace evictlab::lab {
namespace {

using results::Cell;
using runtime::CompactedRun;
using runtime::Reference;

/// By policy and budget: what replay keeps of the prompt.
using Retentions = std::map<std::pair<const sim::Policy*, const sim::Budget*>, sim::Retention>;

Cell whole(trace::Index value) { return static_cast<std::int64_t>(value); }
template <typename Value>
Cell cell_of(const std::optional<Value>& value) {
  return value ? Cell(*value) : Cell();
}

/// What a row begins with.
struct RowKey {
  const runtime::TokenizedPrompt& prompt;
  const Reference& reference;
  const sim::Policy& policy;
  const sim::Budget& budget;
  std::size_t turn;
};

std::vector<Cell> key_cells(const ValidationPlan& plan, const RowKey& key) {
  const runtime::Turn& turn = key.reference.turns[key.turn];
  return {key.prompt.id,
          key.prompt.task,
          whole(key.reference.prompt_length()),
          static_cast<std::int64_t>(turn.answer().size()),
          cell_of(key.prompt.depth),
          static_cast<std::int64_t>(key.turn + 1),
          key.policy.name,
          key.policy.parameters,
          key.policy.variant,
          key.policy.protection.text(),
          std::string(sim::granularity_name(key.policy.granularity)),
          sim::requested(key.budget, plan.info)};
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

void add_scores(std::vector<Cell>& cells, const runtime::WrittenOutcome& written, const std::string& metric,
                bool judged) {
  const auto add = [&](const auto& value) {
    cells.push_back(judged ? Cell(value(written.whole)) : Cell());
    cells.push_back(judged && written.after_first ? Cell(value(*written.after_first)) : Cell());
  };
  add([&](const runtime::TextScores& scores) { return scores.by_name(metric); });
  add([](const runtime::TextScores& scores) { return scores.exact; });
  add([](const runtime::TextScores& scores) { return scores.f1; });
  add([](const runtime::TextScores& scores) { return scores.rouge_l; });
}

/// One run's rows, a turn each.
void add_run(const ValidationPlan& plan, const runtime::TokenizedPrompt& prompt, const Reference& reference,
             const sim::Policy& policy, const sim::Budget& budget, const std::vector<sim::Importance>& importance,
             const Retentions& replayed, results::Table& table) {
  const CompactedRun run(plan.model, reference, policy, budget.real_slots(plan.info, reference.prompt_length()),
                         importance);
  const auto agreement = agreement_with(replayed, policy, budget, run.retention(), importance);
  const bool degenerate = run.nothing_evicted() && policy.name != "full";
  runtime::Continuation forced = run.continued();
  for (std::size_t turn = 0; turn < reference.turns.size(); ++turn) {
    const runtime::Turn& question = reference.turns[turn];
    const runtime::ForcedOutcome outcome =
        runtime::forced_outcome(question, reference.logits[turn], forced.read(question.tokens));
    const auto begin = [&] {
      runtime::Continuation continuation = run.continued();
      for (std::size_t before = 0; before < turn; ++before) continuation.read(reference.turns[before].tokens);
      return continuation;
    };
    const std::size_t most = plan.most_tokens > 0 ? plan.most_tokens : runtime::most_tokens(question, true);
    const runtime::WrittenOutcome written =
        runtime::written_outcome(question, reference.first_logits, begin, plan.text, most);

    std::vector<Cell> cells = key_cells(plan, {prompt, reference, policy, budget, turn});
    cells.insert(cells.end(),
                 {run.held_slots() / static_cast<double>(plan.info.layers), whole(run.cache().allocated_bytes()),
                  whole(run.cache().peak_bytes()), outcome.kl, cell_of(outcome.nll), outcome.top1_agreement});
    // A generated future is the model's own: it is no answer to be right or wrong.
    add_scores(cells, written, prompt.metric, turn > 0 || prompt.generate == 0);
    cells.push_back(whole(written.length));
    const bool timed = written.steps > 0 && written.seconds > 0.0;
    const auto steps = static_cast<double>(written.steps);
    cells.push_back(timed ? Cell(1e3 * written.seconds / steps) : Cell());
    cells.push_back(timed ? Cell(steps / written.seconds) : Cell());
    cells.push_back(agreement ? Cell(agreement->overlap) : Cell());
    cells.push_back(agreement ? whole(agreement->mismatches) : Cell());
    cells.push_back(agreement ? cell_of(agreement->margin) : Cell());
    cells.emplace_back(std::string(degenerate ? "degenerate" : "ok"));
    table.add_row(std::move(cells));
  }
}

void add_infeasible(const ValidationPlan& plan, const runtime::TokenizedPrompt& prompt, const Reference& reference,
                    const sim::Policy& policy, const sim::Budget& budget, results::Table& table) {
  for (std::size_t turn = 0; turn < reference.turns.size(); ++turn) {
    std::vector<Cell> cells = key_cells(plan, {prompt, reference, policy, budget, turn});
    cells.resize(table.columns().size() - 1);
    cells.emplace_back(std::string("infeasible"));
    table.add_row(std::move(cells));
  }
}

bool feasible(const ValidationPlan& plan, const Reference& reference, const sim::Policy& policy,
              const sim::Budget& budget) {
  const double slots = budget.real_slots(plan.info, reference.prompt_length());
  return std::ranges::all_of(reference.recorded.layers, [&](const trace::LayerData& layer) {
    return sim::is_feasible(policy, layer.shape, slots);
  });
}

/// What replay says of the same prompt, and what it keeps.
sim::ReplayResult replayed(const ValidationPlan& plan, const Reference& reference, Retentions& retentions) {
  trace::MemoryTrace trace(plan.info);
  trace.add_prompt(reference.recorded);
  trace.set_output_weights(plan.output_weights);
  sim::ReplayOptions options;
  options.positions = true;
  options.retention = [&](const sim::RetentionRecord& record) {
    retentions[{&record.policy, &record.budget}] = record.retention;
  };
  return sim::replay(trace, plan.policies, plan.budgets, options);
}

}  // namespace

results::Table empty_validation() {
  return results::Table({"prompt",
                         "task",
                         "prompt_length",
                         "answer_length",
                         "depth",
                         "turn",
                         "policy",
                         "parameters",
                         "variant",
                         "protection",
                         "granularity",
                         "budget_requested",
                         "slots_held",
                         "bytes",
                         "peak_bytes",
                         "kl",
                         "nll",
                         "top1_agreement",
                         "accuracy",
                         "accuracy_after_first",
                         "exact_match",
                         "exact_match_after_first",
                         "f1",
                         "f1_after_first",
                         "rouge_l",
                         "rouge_l_after_first",
                         "output_length",
                         "decode_ms",
                         "tokens_per_second",
                         "overlap",
                         "mismatches",
                         "mismatch_margin",
                         "status"});
}

ValidatedPrompt validate_prompt(const ValidationPlan& plan, const runtime::TokenizedPrompt& prompt,
                                const std::function<void(double)>& progress) {
  const Reference reference =
      runtime::read_reference(plan.model, plan.info, prompt, plan.record, [](double) { core::throw_if_interrupted(); });
  ValidatedPrompt result{empty_validation(), sim::empty_result()};
  Retentions retentions;
  if (plan.replay) result.replay = replayed(plan, reference, retentions);
  double done = 0.0;
  for (const sim::Policy& policy : plan.policies) {
    const std::vector<sim::Importance> importance = runtime::importance_of(policy, reference);
    for (const sim::Budget& budget : plan.budgets) {
      core::throw_if_interrupted();
      if (feasible(plan, reference, policy, budget)) {
        add_run(plan, prompt, reference, policy, budget, importance, retentions, result.validate);
      } else {
        add_infeasible(plan, prompt, reference, policy, budget, result.validate);
      }
      progress(done += 1.0);
    }
  }
  return result;
}

}  // namespace evictlab::lab
