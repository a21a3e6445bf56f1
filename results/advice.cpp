#include "results/advice.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

namespace evictlab::results {

std::vector<CostedRun> costed_runs(const Table& replay, LossMeasure measure, const BootstrapOptions& options) {
  const bool attention = measure == LossMeasure::kAttention;
  const std::size_t loss = replay.column(attention ? "retained_mass" : "relative_loss");
  struct Sums {
    double slots = 0.0;
    double bytes = 0.0;
    std::vector<double> losses;
  };
  using Key = std::tuple<std::string, std::string, std::string>;
  std::vector<Key> order;
  std::map<Key, Sums> sums;
  std::set<std::string> prompts;
  for (std::size_t row = 0; row < replay.rows(); ++row) {
    if (replay.text(row, replay.column("layer")) != "all") continue;
    prompts.insert(replay.text(row, replay.column("prompt")));
    const auto slots = replay.number(row, replay.column("slots_held"));
    if (!slots) continue;  // infeasible
    const auto value = replay.number(row, loss);
    if (!value) throw TableError("relative_loss is empty: it needs a trace of the full tier (record --tier full)");
    const Key key(replay.text(row, replay.column("policy")), replay.text(row, replay.column("parameters")),
                  replay.text(row, replay.column("budget_requested")));
    const auto [found, is_new] = sums.try_emplace(key);
    if (is_new) order.push_back(key);
    found->second.slots += *slots;
    found->second.bytes += replay.number(row, replay.column("bytes")).value_or(0.0);
    found->second.losses.push_back(attention ? 1.0 - *value : *value);
  }
  std::vector<CostedRun> runs;
  for (const Key& key : order) {
    const Sums& own = sums.at(key);
    if (own.losses.size() != prompts.size()) continue;
    const auto count = static_cast<double>(own.losses.size());
    const auto& [policy, parameters, budget] = key;
    runs.push_back({.policy = policy,
                    .parameters = parameters,
                    .budget = budget,
                    .slots = own.slots / count,
                    .bytes = own.bytes / count,
                    .loss = bootstrap_mean(own.losses, options),
                    .prompts = own.losses.size()});
  }
  return runs;
}

std::optional<CostedRun> cheapest(const std::vector<CostedRun>& runs, double most) {
  std::optional<CostedRun> best;
  for (const CostedRun& run : runs) {
    if (run.loss.high > most) continue;
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
