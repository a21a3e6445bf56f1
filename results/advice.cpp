#include "results/advice.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "results/run_table.hpp"

namespace evictlab::results {

std::vector<CostedRun> costed_runs(const Table& replay, Measure measure, const KlPredictor* predictor,
                                   const BootstrapOptions& options) {
  require_columns(replay, {"layer", "slots_held", "bytes", info(measure).column});
  struct Sums {
    double slots = 0.0;
    double bytes = 0.0;
    std::vector<double> losses;
    std::set<std::string> documents;
  };
  using Key = std::pair<PolicyKey, std::string>;  // policy, budget
  const std::vector<Run> all = runs_over_layers(replay);
  const std::size_t prompts = prompts_of(all).size();
  std::vector<Key> order;
  std::map<Key, Sums> sums;
  for (const Run& run : all) {
    if (!run.slots_held) continue;  // infeasible
    const auto value = run[measure];
    if (!value) {
      throw TableError("{} is empty: it needs a trace of the full tier (record --tier full)", info(measure).column);
    }
    const auto [found, is_new] = sums.try_emplace(Key(run.key, run.budget_text));
    if (is_new) order.push_back(found->first);
    found->second.slots += *run.slots_held;
    found->second.bytes += run.bytes.value_or(0.0);
    found->second.losses.push_back(amount_lost(measure, *value));
    found->second.documents.insert(run.document);
  }
  std::vector<CostedRun> runs;
  for (const Key& key : order) {
    const Sums& own = sums.at(key);
    if (own.losses.size() != prompts) continue;
    const auto count = static_cast<double>(own.losses.size());
    runs.push_back({.policy = key.first.policy,
                    .parameters = key.first.parameters,
                    .budget = key.second,
                    .slots = own.slots / count,
                    .bytes = own.bytes / count,
                    .loss = measure == Measure::kPredictedKl
                                ? predictor->mean(key.first, own.losses, own.documents.size())
                                : bootstrap_mean(own.losses, options),
                    .prompts = own.losses.size()});
  }
  return runs;
}

std::optional<CostedRun> cheapest(const std::vector<CostedRun>& runs, double most) {
  std::optional<CostedRun> best;
  for (const CostedRun& run : runs) {
    if (run.loss.upper() > most) continue;
    if (!best || std::pair(run.bytes, run.loss.mean) < std::pair(best->bytes, best->loss.mean)) best = run;
  }
  return best;
}

std::optional<CostedRun> least_lossy(const std::vector<CostedRun>& runs, double bytes) {
  std::optional<CostedRun> best;
  for (const CostedRun& run : runs) {
    if (run.bytes > bytes) continue;
    if (!best || std::pair(run.loss.mean, run.bytes) < std::pair(best->loss.mean, best->bytes)) best = run;
  }
  return best;
}

std::vector<std::int64_t> rounded_together(const std::vector<double>& means) {
  std::vector<std::int64_t> whole;
  for (const double mean : means) whole.push_back(static_cast<std::int64_t>(std::floor(mean)));
  const double sum = std::accumulate(means.begin(), means.end(), 0.0);
  std::int64_t left = std::llround(sum) - std::accumulate(whole.begin(), whole.end(), std::int64_t{0});
  std::vector<std::size_t> order(means.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto remainder = [&](std::size_t i) { return means[i] - std::floor(means[i]); };
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return remainder(a) > remainder(b); });
  for (std::size_t i = 0; i < order.size() && left > 0; ++i, --left) ++whole[order[i]];
  return whole;
}

}  // namespace evictlab::results
