#include "sim/replay/prompt_replay.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/interrupt.hpp"
#include "core/parallel.hpp"
#include "sim/policy/future.hpp"
#include "sim/replay/judge.hpp"

namespace evictlab::sim {
namespace {

// Policies that score and rank alike, and may see the same, do so once per layer.
std::string ranking_key(const Policy& policy) {
  const auto identity = [](const std::shared_ptr<const Scorer>& scorer) {
    return scorer ? scorer->identity() : "none";
  };
  return fmt::format("{}|{}|{}|{}|{}|{}|{}", identity(policy.scorer), identity(policy.refiner),
                     policy.selector->identity(), policy.protection.text(), granularity_name(policy.granularity),
                     policy.block, policy.needs().future);
}

}  // namespace

PromptReplay::PromptReplay(const trace::Source& source, Index prompt, std::span<const Policy> policies,
                           std::span<const Budget> budgets, const ReplayOptions& options)
    : source_(source),
      index_(prompt),
      info_(source.prompts()[static_cast<std::size_t>(prompt)]),
      keep_retention_(static_cast<bool>(options.retention)),
      want_tables_(options.tables),
      want_positions_(options.positions),
      want_headroom_(options.headroom && options.tables),
      want_curves_(options.curves && options.tables),
      want_outputs_(options.full_measures && info_.tier == trace::Tier::kFull) {
  recomputes_ = want_outputs_ || (info_.tier == trace::Tier::kFull &&
                                  std::ranges::any_of(policies, [](const Policy& one) { return bool(one.decoding); }));
  for (const Policy& policy : policies) {
    fields_ |= policy.needs().fields;
    reads_output_weight_ = reads_output_weight_ || policy.needs().output_weight;
    if (policy.decoding) decoding_fields_ |= policy.decoding->fields();
    for (const Budget& budget : budgets) add_run(policy, budget);
  }
  std::map<std::string, std::vector<std::size_t>> by_key;
  for (std::size_t run = 0; run < runs_.size(); ++run) {
    if (runs_[run].feasible()) by_key[ranking_key(*runs_[run].policy)].push_back(run);
  }
  for (auto& [key, members] : by_key) {
    // The largest budget first: what is sorted for it serves the others.
    std::ranges::stable_sort(members, std::ranges::greater{}, [&](std::size_t run) {
      return runs_[run].budget->real_slots(source_.model(), info_.prompt_length);
    });
    groups_.push_back({std::move(members), {}});
  }
}

void PromptReplay::work(const std::function<void()>& layer_done) {
  each_layer(fields_ | judged_fields(), [&](const trace::LayerData& data, std::size_t i) {
    observe(data, i);
    judge(data, i, false);
    layer_done();
  });
  bool revised = false;
  for (Run& run : runs_) {
    if (!run.feasible() || !run.policy->allocator->traits().revises) continue;
    run.eviction->settle();
    run.trajectory.back().after = run.eviction->held_slots();
    revised = true;
  }
  for (Run& run : runs_) {
    if (!run.feasible()) continue;
    for (const std::string& text : run.policy->notes) run.notes.push_back({text});
    for (Note& note : run.eviction->notes()) run.notes.push_back(std::move(note));
  }
  if (revised) {
    each_layer(judged_fields(), [&](const trace::LayerData& data, std::size_t i) { judge(data, i, true); });
  }
  if (want_headroom_) find_headroom();
  for (Run& run : runs_) run.eviction.reset();
}

void PromptReplay::report(ReplayResult& result, PositionMeans& positions, const ReplayOptions& options) const {
  for (const Run& run : runs_) {
    const RowContext context{source_.model(), info_, *run.policy, *run.budget, options.layers, options.predictor};
    if (!want_tables_) {
      if (run.feasible()) options.retention({*run.policy, *run.budget, info_, run.retention});
      continue;
    }
    if (!run.feasible()) {
      add_not_run(context, run.status, result);
      continue;
    }
    add_rows(context, run.layers, result);
    positions.add(context, run.layers);
    if (options.layers) add_trajectory(context, run.trajectory, result);
    if (want_curves_) run.curve.add_rows(context, mean_slots(run.layers), result);
    if (want_headroom_) add_headroom(context, run.layers, run.headroom, result);
    for (const Note& note : run.notes) {
      auto& total = result.notes[fmt::format("{}: {}", run.policy->label(), note.text)];
      ++total.runs;
      total.slots += note.slots;
    }
    if (options.retention) options.retention({*run.policy, *run.budget, info_, run.retention});
  }
}

bool PromptReplay::divides_freely(const Policy& policy) const {
  return want_headroom_ && has_headroom(policy, source_.model().layers);
}

void PromptReplay::each_layer(trace::Fields fields,
                              const std::function<void(const trace::LayerData&, std::size_t)>& work) const {
  const auto read = [&](std::size_t i) { return source_.layer(index_, info_.layers[i], fields); };
  trace::LayerData next = read(0);
  for (std::size_t i = 0; i < info_.layers.size(); ++i) {
    core::throw_if_interrupted();
    const trace::LayerData data = std::move(next);
    core::parallel_for(i + 1 < info_.layers.size() ? 2 : 1, [&](std::size_t task) {
      if (task == 0) {
        work(data, i);
      } else {
        next = read(i + 1);
      }
    });
  }
}

void PromptReplay::add_run(const Policy& policy, const Budget& budget) {
  Run run{.policy = &policy, .budget = &budget, .retention = {policy.granularity, {}}};
  const double slots = budget.real_slots(source_.model(), info_.prompt_length);
  run.status = run_status(policy, source_.model(), info_, slots);
  if (run.feasible()) {
    run.eviction =
        std::make_unique<Eviction>(policy, source_.model().layers, slots, static_cast<Index>(info_.layers.size()));
    run.layers.resize(info_.layers.size());
  }
  runs_.push_back(std::move(run));
}

trace::Fields PromptReplay::judged_fields() const {
  if (!want_tables_) return trace::Field::kFutureMass;  // which policies may look at
  trace::Fields fields = decoding_fields_ | trace::Field::kFutureMass;
  if (recomputes_) {
    fields |= trace::Field::kQueries | trace::Field::kKeys | trace::Field::kValues;
  }
  if (want_outputs_ && info_.gradient_draws > 0) fields |= trace::Field::kOutputGradients;
  for (const trace::Field optional : {trace::Field::kOutputNorms, trace::Field::kResidualNorms}) {
    if (info_.recorded().contains(optional)) fields |= optional;
  }
  return fields;
}

KnownScores PromptReplay::score(const trace::LayerView& layer, const trace::LayerView& with_future) const {
  KnownScores known;
  std::vector<std::pair<const Scorer*, std::shared_ptr<const trace::RowMatrix>*>> work;
  for (const Group& group : groups_) {
    const Policy& policy = *runs_[group.runs.front()].policy;
    for (const auto& scorer : {policy.scorer, policy.refiner}) {
      if (!scorer) continue;
      const auto [entry, is_new] = known.try_emplace(scorer_key(*scorer));
      if (is_new) work.emplace_back(scorer.get(), &entry->second);
    }
  }
  core::parallel_for(work.size(), [&](std::size_t i) {
    const Scorer& scorer = *work[i].first;
    *work[i].second =
        std::make_shared<const trace::RowMatrix>(raw_scores(scorer, scorer.needs().future ? with_future : layer));
  });
  return known;
}

PromptReplay::GroupLayer PromptReplay::prepare(const std::vector<std::size_t>& members, const trace::LayerView& view,
                                               const trace::LayerView& with_future, const KnownScores& known) const {
  const Policy& first = *runs_[members.front()].policy;
  GroupLayer group;
  group.seen = first.needs().future ? &with_future : &view;
  group.importance = score_layer(first, *group.seen, known);
  if (!first.selector->ranking_depends_on_budget()) {
    Index ceiling = 0;
    for (const std::size_t run : members) {
      ceiling = std::max(ceiling, runs_[run].eviction->ceiling(*group.seen, group.importance));
    }
    if (divides_freely(first)) ceiling = first.ranges(view.shape).candidates();
    group.ranking = rank_layer(first, view.shape, group.importance, ceiling);
  }
  for (const std::size_t run : members) {
    const Policy& policy = *runs_[run].policy;
    const std::string identity = policy.allocator->traits().statistics.identity;
    if (identity.empty() || group.statistics.contains(identity)) continue;
    group.statistics[identity] = policy.allocator->traits().statistics.prepare(
        {*group.seen, group.importance, policy.ranges(view.shape), group.ranking.get()});
  }
  return group;
}

void PromptReplay::observe(const trace::LayerData& data, std::size_t layer) {
  trace::LayerView view = trace::layer_view(data);
  view.prompt = info_.id;
  std::optional<trace::RowMatrix> output_weight;
  if (reads_output_weight_) view.output_weight = &output_weight.emplace(source_.output_weight(data.shape.layer));
  const trace::FutureView future = trace::future_view(data);
  trace::LayerView with_future = view;
  with_future.future = &future;
  const KnownScores known = score(view, with_future);
  std::map<Granularity, trace::RowMatrix> shares;  // for the curves of rankings
  for (const Group& group : groups_) {
    const Policy& policy = *runs_[group.runs.front()].policy;
    if (!divides_freely(policy) || shares.contains(policy.granularity)) continue;
    shares.emplace(policy.granularity, future_importance(data.shape, future.mass, policy.granularity));
  }
  core::parallel_for(groups_.size(), [&](std::size_t g) {
    const std::vector<std::size_t>& runs = groups_[g].runs;
    const GroupLayer group = prepare(runs, view, with_future, known);
    // Runs that share a ranking only look their budgets up; the others rank each for itself.
    const std::size_t tasks = group.ranking ? 1 : runs.size();
    core::parallel_for(tasks, [&](std::size_t task) {
      const std::span members(runs);
      for (const std::size_t run : group.ranking ? members : members.subspan(task, 1)) {
        observe(group, runs_[run], layer);
      }
    });
    const Policy& first = *runs_[runs.front()].policy;
    if (!divides_freely(first)) return;
    groups_[g].gains.push_back(
        std::make_shared<const RankedGains>(shares.at(first.granularity), *group.ranking, first.ranges(data.shape)));
  });
}

void PromptReplay::find_headroom() {
  std::vector<std::vector<std::vector<Index>>> counts(groups_.size());  // [groups][runs][layers * sets]
  std::map<FutureKey, Index> most;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    if (groups_[g].gains.empty()) continue;
    for (const std::size_t run : groups_[g].runs) {
      std::vector<Index>& own = counts[g].emplace_back();
      for (std::size_t l = 0; l < info_.layers.size(); ++l) {
        const auto& held = runs_[run].eviction->held(l).counts;
        own.insert(own.end(), held.begin(), held.end());
      }
      Index& largest = most[future_key(*runs_[run].policy)];
      largest = std::max(largest, std::accumulate(own.begin(), own.end(), Index{0}));
    }
  }
  // The future once more: how much of it is to be remembered is known only now.
  std::map<FutureKey, GlobalOracle> futures;
  for (const auto& [key, largest] : most) futures.emplace(key, largest);
  if (!futures.empty()) {
    each_layer(trace::Field::kFutureMass, [&](const trace::LayerData& data, std::size_t) {
      for (auto& [key, all_layers] : futures) {
        const auto& [granularity, sinks, recent] = key;
        all_layers.add_layer(future_importance(data.shape, trace::future_view(data).mass, granularity),
                             PositionRanges(data.shape, {sinks, recent}));
      }
    });
  }
  core::parallel_for(groups_.size(), [&](std::size_t g) {
    const Group& group = groups_[g];
    if (group.gains.empty()) return;
    const GlobalOracle& future = futures.at(future_key(*runs_[group.runs.front()].policy));
    const auto found = headroom_of(group.gains, future, counts[g], source_.model().query_heads);
    for (std::size_t i = 0; i < found.size(); ++i) runs_[group.runs[i]].headroom = found[i];
  });
}

void PromptReplay::observe(const GroupLayer& group, Run& run, std::size_t layer) const {
  Eviction& eviction = *run.eviction;
  const trace::LayerShape& shape = group.seen->shape;
  const double before = eviction.held_slots() + static_cast<double>(run.policy->ranges(shape).visible());
  const auto statistics = group.statistics.find(run.policy->allocator->traits().statistics.identity);
  eviction.observe(*group.seen, group.importance, group.ranking,
                   statistics == group.statistics.end() ? nullptr : statistics->second);
  run.trajectory.push_back({shape.layer, before, eviction.held_slots()});
  run.layers[layer].layer = shape.layer;
}

void PromptReplay::judge(const trace::LayerData& data, std::size_t layer, bool revising) {
  std::vector<Run*> judged;
  std::vector<Run*> prefixes;
  std::vector<JudgedLayer> held;
  for (Run& run : runs_) {
    if (!run.feasible() || run.policy->allocator->traits().revises != revising) continue;
    judged.push_back(&run);
    if (run.policy->decoding) continue;
    prefixes.push_back(&run);
    held.push_back({run.policy->granularity, &run.eviction->held(layer)});
  }
  if (judged.empty()) return;
  std::optional<LayerJudge> layer_judge;
  if (want_tables_) {
    layer_judge.emplace(data, recomputes_ ? std::optional(source_.output_weight(data.shape.layer)) : std::nullopt,
                        LayerJudge::Settings{.spans = info_.spans, .outputs = want_outputs_});
    std::vector<Measures> measures = layer_judge->judge(held);
    for (std::size_t i = 0; i < prefixes.size(); ++i) prefixes[i]->layers[layer].measures = std::move(measures[i]);
  }
  core::parallel_for(judged.size(), [&](std::size_t i) {
    Run& run = *judged[i];
    LayerOutcome& outcome = run.layers[layer];
    const HeldLayer& own = run.eviction->held(layer);
    if (layer_judge) {
      if (run.policy->decoding) outcome.measures = layer_judge->judge_decoding(*run.policy, own.positions());
      if (outcome.measures.output) {
        if (want_curves_) run.curve.add(*outcome.measures.output);
        outcome.measures.output->by_query = {};  // of many runs in many layers
      }
      outcome.count(own, run.policy->granularity, want_positions_, info_.spans);
    }
    if (keep_retention_) run.retention.layers.push_back(own.positions());
    if (!revising) run.eviction->release(layer);
  });
}

}  // namespace evictlab::sim
