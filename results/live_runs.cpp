#include "results/live_runs.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "results/prediction.hpp"

namespace evictlab::results {
namespace {

/// Numbers names in the order in which they come.
template <typename Name>
class Numbering {
 public:
  std::size_t operator()(const Name& name) {
    const auto [place, is_new] = numbers_.try_emplace(name, names.size());
    if (is_new) names.push_back(name);
    return place->second;
  }
  std::vector<Name> names;

 private:
  std::map<Name, std::size_t> numbers_;
};

}  // namespace

LiveRuns live_runs(const Table& validate, const Table& replay, Evicts evicting) {
  using Key = std::tuple<std::string, PolicyKey, std::string>;  // prompt, policy, budget
  std::map<Key, Run> replayed;
  for (Run& run : runs_over_layers(replay)) {
    Key key(run.prompt, run.key, run.budget_text);
    replayed.emplace(std::move(key), std::move(run));
  }
  const std::size_t kl_column = validate.column("kl");
  const auto length_column = validate.find_column("prompt_length");
  const auto future_column = replay.find_column("T");
  Numbering<PolicyKey> policies;
  Numbering<std::pair<std::size_t, std::string>> cells;
  Numbering<std::string> documents;
  Numbering<std::string> tasks;
  std::set<std::string> prompts;
  LiveRuns result;
  for (const Run& run : runs_over_layers(validate)) {
    if (run.turn != 1 || run.status != RunStatus::kOk || is_full_cache(run.key, run.role)) continue;
    if (evicts(run.key.parameters) != evicting) continue;
    const auto kl = validate.number(run.row, kl_column);
    const auto same = replayed.find({run.prompt, run.key, run.budget_text});
    if (!kl || same == replayed.end()) continue;
    LiveRun& own = result.runs.emplace_back();
    own.policy = policies(run.key);
    own.cell = cells({own.policy, run.budget_text});
    own.document = documents(run.document);
    own.role = run.role;
    if (length_column) own.prompt_length = validate.number(run.row, *length_column).value_or(0.0);
    if (future_column) own.future_length = replay.number(same->second.row, *future_column).value_or(0.0);
    own.slots = run.slots_held.value_or(0.0);
    own.kl = *kl;
    for (const MeasureInfo& measure : measures()) {
      const auto value = same->second[measure.id];
      if (value) own.lost[index_of(measure.id)] = amount_lost(measure.id, *value);
    }
    tasks(run.task);
    prompts.insert(run.prompt);
  }
  result.ranked = join(validate, replay, evicting);
  for (const std::string& document : result.ranked.documents) result.ranked_documents.push_back(documents(document));
  result.policies = std::move(policies.names);
  for (const auto& [policy, budget] : cells.names) result.cells.push_back({policy, budget});
  result.documents = std::move(documents.names);
  result.tasks = std::move(tasks.names);
  std::ranges::sort(result.tasks);
  result.prompts = prompts.size();
  return result;
}

LiveStretches live_stretches(const Table& curves, Evicts evicting) {
  require_columns(curves, {"step_last", "kl"});
  LiveStretches result;
  std::set<std::int64_t> last_steps;
  for (std::size_t row = 0; row < curves.rows(); ++row) {
    last_steps.insert(static_cast<std::int64_t>(curves.number(row, curves.column("step_last")).value_or(0.0)));
  }
  result.last_steps.assign(last_steps.begin(), last_steps.end());
  Numbering<PolicyKey> policies;
  Numbering<std::string> documents;
  for (const Run& run : runs_over_layers(curves)) {
    const auto kl = curves.number(run.row, curves.column("kl"));
    if (!kl || evicts(run.key.parameters) != evicting || is_full_cache(run.key, run.role)) continue;
    const double last = curves.number(run.row, curves.column("step_last")).value_or(0.0);
    LiveRun& own = result.runs.runs.emplace_back();
    own.policy = policies(run.key);
    own.document = documents(run.document);
    own.cell = static_cast<std::size_t>(std::ranges::lower_bound(result.last_steps, static_cast<std::int64_t>(last)) -
                                        result.last_steps.begin());
    own.role = run.role;
    own.slots = run.slots_held.value_or(0.0);
    own.kl = *kl;
    for (const MeasureInfo& measure : measures()) {
      if (const auto value = run[measure.id]) own.lost[index_of(measure.id)] = amount_lost(measure.id, *value);
    }
  }
  result.runs.policies = std::move(policies.names);
  result.runs.documents = std::move(documents.names);
  return result;
}

}  // namespace evictlab::results
