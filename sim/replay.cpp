#include "sim/replay.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "core/interrupt.hpp"
#include "core/parallel.hpp"
#include "sim/eviction.hpp"
#include "sim/judge.hpp"
#include "sim/replay_rows.hpp"

namespace evictlab::sim {
namespace {

using OracleKey = std::tuple<Granularity, Index, Index, Index>;
OracleKey oracle_key(const Policy& policy) {
  return {policy.granularity, policy.protection.sinks, policy.protection.recent, policy.block};
}

// Policies that score and rank alike, and may see the same, do so once per layer.
std::string ranking_key(const Policy& policy) {
  const auto identity = [](const std::shared_ptr<const Scorer>& scorer) {
    return scorer ? scorer->identity() : "none";
  };
  return fmt::format("{}|{}|{}|{}|{}|{}|{}|{}", identity(policy.scorer), identity(policy.refiner),
                     policy.allocator->measure_identity(), policy.selector->identity(), policy.protection.text(),
                     granularity_name(policy.granularity), policy.block, policy.needs().future);
}

// One prompt under all policies and budgets.
class PromptReplay {
 public:
  PromptReplay(const trace::Source& source, Index prompt, std::span<const Policy> policies,
               std::span<const Budget> budgets, bool keep_retention)
      : source_(source),
        index_(prompt),
        info_(source.prompts()[static_cast<std::size_t>(prompt)]),
        keep_retention_(keep_retention) {
    for (const Policy& policy : policies) {
      fields_ |= policy.needs().fields;
      if (policy.decoding) decoding_fields_ |= policy.decoding->fields();
      for (const Budget& budget : budgets) add_run(policy, budget);
    }
    for (std::size_t run = 0; run < runs_.size(); ++run) {
      if (runs_[run].feasible) groups_[ranking_key(*runs_[run].policy)].push_back(run);
    }
  }

  template <typename LayerDone>
  void work(const LayerDone& layer_done) {
    for (std::size_t i = 0; i < info_.layers.size(); ++i) {
      core::throw_if_interrupted();
      const trace::LayerData data = source_.layer(index_, info_.layers[i], fields_ | judged_fields());
      observe(data, i);
      judge(data, i, false);
      layer_done();
    }
    bool revised = false;
    for (Run& run : runs_) {
      if (!run.feasible || !run.policy->allocator->revises()) continue;
      run.retention = run.eviction->finish();
      run.trajectory.back().after = run.eviction->held_slots();
      revised = true;
    }
    for (Run& run : runs_) {
      if (!run.feasible) continue;
      for (const std::string& text : run.policy->notes) run.notes.push_back({text});
      for (Note& note : run.eviction->notes()) run.notes.push_back(std::move(note));
    }
    for (std::size_t i = 0; revised && i < info_.layers.size(); ++i) {
      core::throw_if_interrupted();
      judge(source_.layer(index_, info_.layers[i], judged_fields()), i, true);
    }
  }

  void report(ReplayResult& result, const ReplayOptions& options) const {
    for (const Run& run : runs_) {
      const RowContext context{source_.model(), info_, *run.policy, *run.budget};
      if (!run.feasible) {
        add_infeasible(context, result);
        continue;
      }
      add_rows(context, run.layers, result);
      add_trajectory(context, run.trajectory, result);
      for (const Note& note : run.notes) {
        auto& total = result.notes[fmt::format("{}: {}", run.policy->label(), note.text)];
        ++total.runs;
        total.slots += note.slots;
      }
      if (options.retention) options.retention({*run.policy, *run.budget, info_, run.retention});
    }
  }

 private:
  struct Run {
    const Policy* policy;
    const Budget* budget;
    bool feasible = true;
    std::unique_ptr<Eviction> eviction;
    std::vector<LayerOutcome> layers;
    std::vector<TrajectoryPoint> trajectory;  // after each layer
    std::vector<Note> notes;
    Retention retention;  // kept for the caller, or for judging after an allocator's last revision
  };

  void add_run(const Policy& policy, const Budget& budget) {
    Run run{&policy, &budget, true, nullptr, {}, {}, {}, {policy.granularity, {}}};
    const double slots = budget.real_slots(source_.model(), info_.prompt_length);
    for (const Index layer : info_.layers) {
      run.feasible = run.feasible && is_feasible(policy, trace::layer_shape(source_.model(), info_, layer), slots);
    }
    if (run.feasible) {
      run.eviction = std::make_unique<Eviction>(policy, static_cast<Index>(info_.layers.size()), slots);
      run.layers.resize(info_.layers.size());
    }
    runs_.push_back(std::move(run));
  }

  trace::Fields judged_fields() const {
    trace::Fields summary = decoding_fields_ | trace::Field::kFutureMass;
    if (info_.recorded().contains(trace::Field::kOutputNorms)) summary |= trace::Field::kOutputNorms;
    if (info_.tier != trace::Tier::kFull) return summary;
    return summary | trace::Field::kQueries | trace::Field::kKeys | trace::Field::kValues;
  }

  // What every distinct scorer says of the layer.
  KnownScores score(const trace::LayerView& layer, const trace::LayerView& with_future) const {
    KnownScores known;
    std::vector<std::pair<const Scorer*, trace::RowMatrix*>> work;
    for (const auto& [key, members] : groups_) {
      const Policy& policy = *runs_[members.front()].policy;
      for (const auto& scorer : {policy.scorer, policy.refiner}) {
        if (!scorer) continue;
        const auto [entry, is_new] = known.try_emplace(scorer_key(*scorer));
        if (is_new) work.emplace_back(scorer.get(), &entry->second);
      }
    }
    core::parallel_for(work.size(), [&](std::size_t i) {
      const Scorer& scorer = *work[i].first;
      *work[i].second = raw_scores(scorer, scorer.needs().future ? with_future : layer);
    });
    return known;
  }

  // Scores once per scorer and ranks once per group, then lets every run of it see the layer.
  void observe(const trace::LayerData& data, std::size_t layer) {
    trace::LayerView view = trace::layer_view(data);
    view.prompt = info_.id;
    const trace::FutureView future = trace::future_view(data);
    trace::LayerView with_future = view;
    with_future.future = &future;
    std::vector<const std::vector<std::size_t>*> groups;
    for (const auto& [key, members] : groups_) groups.push_back(&members);
    const KnownScores known = score(view, with_future);
    core::parallel_for(groups.size(), [&](std::size_t g) {
      const std::vector<std::size_t>& members = *groups[g];
      const Policy& first = *runs_[members.front()].policy;
      const trace::LayerView& seen = first.needs().future ? with_future : view;
      const Importance importance = score_layer(first, seen, known);
      std::optional<Ranking> ranking;
      if (!first.selector->ranking_depends_on_budget()) {
        Index ceiling = 0;
        for (const std::size_t run : members) {
          ceiling = std::max(ceiling, runs_[run].eviction->ceiling(seen, importance));
        }
        ranking = rank_layer(first, data.shape, importance, ceiling);
      }
      for (const std::size_t run : members) {
        Eviction& eviction = *runs_[run].eviction;
        const double before =
            eviction.held_slots() + static_cast<double>(runs_[run].policy->ranges(data.shape).visible());
        eviction.observe(seen, importance, ranking ? &*ranking : nullptr);
        runs_[run].trajectory.push_back({data.shape.layer, before, eviction.held_slots()});
        if (!runs_[run].policy->allocator->revises()) {
          runs_[run].layers[layer].kept = runs_[run].eviction->take_layer(layer);
        }
      }
    });
  }

  // Judges the runs whose allocator revises, or those whose does not.
  void judge(const trace::LayerData& data, std::size_t layer, bool revising) {
    std::optional<trace::RowMatrix> output_weight;
    if (info_.tier == trace::Tier::kFull) output_weight = source_.output_weight(data.shape.layer);
    const LayerJudge layer_judge(data, std::move(output_weight));
    std::vector<Run*> judged;
    std::map<OracleKey, OracleCurve> oracles;
    std::map<Granularity, std::shared_ptr<const FutureRanking>> rankings;
    for (Run& run : runs_) {
      if (!run.feasible || run.policy->allocator->revises() != revising) continue;
      judged.push_back(&run);
      const OracleKey key = oracle_key(*run.policy);
      if (!oracles.contains(key)) {
        auto& ranking = rankings[run.policy->granularity];
        if (!ranking) {
          ranking =
              std::make_shared<const FutureRanking>(data.shape, trace::future_view(data).mass, run.policy->granularity);
        }
        oracles.emplace(key, OracleCurve(ranking, data.shape.query_heads, run.policy->ranges(data.shape)));
      }
    }
    core::parallel_for(judged.size(), [&](std::size_t i) {
      Run& run = *judged[i];
      LayerOutcome& outcome = run.layers[layer];
      if (revising) outcome.kept = run.retention.layers[layer];
      outcome.measures = run.policy->decoding ? layer_judge.judge_decoding(*run.policy, outcome.kept)
                                              : layer_judge.judge(run.policy->granularity, outcome.kept,
                                                                  oracles.at(oracle_key(*run.policy)));
      outcome.visible = data.shape.prompt_length - data.shape.first_visible();
      outcome.count(data.shape, run.policy->granularity);
      if (keep_retention_ && !revising) run.retention.layers.push_back(std::move(outcome.kept));
      outcome.kept = {};
    });
  }

  const trace::Source& source_;
  Index index_;
  const trace::PromptInfo& info_;
  bool keep_retention_;
  trace::Fields fields_;
  trace::Fields decoding_fields_;                           // what rules read while decoding
  std::vector<Run> runs_;                                   // in the order of the rows
  std::map<std::string, std::vector<std::size_t>> groups_;  // by ranking_key
};

void check(const trace::Source& source, std::span<const Policy> policies) {
  std::set<std::string> texts;
  for (const Policy& policy : policies) {
    check_parts(policy);
    if (!texts.insert(policy.text()).second) throw PolicyError("policy {} is given twice", policy.label());
    for (const trace::PromptInfo& prompt : source.prompts()) check_needs(policy, prompt);
  }
  for (const trace::PromptInfo& prompt : source.prompts()) {
    if (prompt.future_length > 0) continue;
    throw PolicyError(
        "prompt '{}' records no future queries (T = 0), so there is nothing to judge by (record with --future)",
        prompt.id);
  }
}

}  // namespace

ReplayResult replay(const trace::Source& source, std::span<const Policy> policies, std::span<const Budget> budgets,
                    const ReplayOptions& options) {
  check(source, policies);
  const std::size_t prompts = source.prompts().size();
  double total = 0.0;
  for (const trace::PromptInfo& prompt : source.prompts()) total += static_cast<double>(prompt.layers.size());

  ReplayResult result = empty_result();
  std::mutex mutex;
  double done = 0.0;
  // Prompts end in any order and are reported in theirs; a finished one waits for those before it.
  std::vector<std::unique_ptr<PromptReplay>> finished(prompts);
  std::size_t reported = 0;
  core::parallel_for(prompts, [&](std::size_t prompt) {
    auto own = std::make_unique<PromptReplay>(source, static_cast<Index>(prompt), policies, budgets,
                                              static_cast<bool>(options.retention));
    own->work([&] {
      const std::lock_guard lock(mutex);
      done += 1.0;
      if (options.progress) options.progress(done, total);
    });
    const std::lock_guard lock(mutex);
    finished[prompt] = std::move(own);
    for (; reported < prompts && finished[reported]; ++reported) {
      finished[reported]->report(result, options);
      finished[reported].reset();
    }
  });
  return result;
}

}  // namespace evictlab::sim
