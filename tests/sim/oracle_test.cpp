// The oracles against brute force: every division of a few slots over the kept sets of small layers.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "sim/policy/future.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/eviction.hpp"
#include "sim/replay/replay.hpp"
#include "trace/synthetic.hpp"

namespace evictlab::sim {
namespace {

trace::SyntheticOptions options_of(std::uint64_t seed) {
  trace::SyntheticOptions options;
  options.seed = seed;
  options.prompts = 1;
  options.layers = 2;
  options.length = 16;
  options.future = 5;
  options.window = 4;
  options.heavy_hitters = 3;
  return options;
}

double retained(const trace::MemoryTrace& trace, const std::string& policy, const std::string& budget,
                const char* measure = "retained_mass") {
  const auto table = replay(trace, std::vector{make_policy(policy)}, parse_budgets(budget)).replay;
  return *table.number(table.rows() - 1, table.column(measure));  // layer = all
}

// What each kept set retains with its first so many, [layer * sets + set][count], in the order of `policy`'s ranking.
std::vector<std::vector<double>> curves(const trace::MemoryTrace& trace, const std::string& policy_text) {
  const Policy policy = make_policy(policy_text);
  std::vector<std::vector<double>> all;
  for (Index l = 0; l < trace.model().layers; ++l) {
    const trace::LayerData data = trace.layer(0, l, trace.prompts()[0].recorded());
    trace::LayerView view = trace::layer_view(data);
    const trace::FutureView future = trace::future_view(data);
    view.future = &future;
    const trace::RowMatrix shares = future_importance(data.shape, future.mass, policy.granularity);
    const auto ranking = rank_layer(policy, data.shape, score_layer(policy, view), data.shape.prompt_length);
    for (Index set = 0; set < shares.rows(); ++set) {
      const PositionRanges ranges = policy.ranges(data.shape);
      double mass = 0.0;
      for (Index j = ranges.candidates_end; j < ranges.prompt_length; ++j) mass += shares(set, j);
      all.push_back({mass});
      for (const std::int32_t position : ranking->order[static_cast<std::size_t>(set)]) {
        all.back().push_back(all.back().back() + double{shares(set, position)});
      }
    }
  }
  return all;
}

// The most that sets [first, end) retain together with `slots` candidates.
double best(const std::vector<std::vector<double>>& curves, std::size_t first, std::size_t end, Index slots) {
  if (first == end) return slots == 0 ? 0.0 : -1e9;
  double most = -1e9;
  const Index limit = std::min<Index>(slots, static_cast<Index>(curves[first].size()) - 1);
  for (Index own = 0; own <= limit; ++own) {
    most = std::max(most, curves[first][static_cast<std::size_t>(own)] + best(curves, first + 1, end, slots - own));
  }
  return most;
}

// The future positions' own share, which every policy retains: mean over heads and layers.
double always_retained(const trace::MemoryTrace& trace) {
  double prompt = 0.0;
  double sets = 0.0;
  for (const auto& curve : curves(trace, "oracle")) prompt += curve.back();
  for (Index l = 0; l < trace.model().layers; ++l) sets += static_cast<double>(trace.model().query_heads);
  return 1.0 - prompt / sets;
}

TEST(Oracle, OverHeadsAndOverLayersRetainTheMostThatAnyDivisionDoes) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const trace::MemoryTrace trace = synthesize(options_of(seed));
    const auto future = curves(trace, "oracle");
    const double always = always_retained(trace);
    const double heads = static_cast<double>(trace.model().query_heads * trace.model().layers);
    for (const Index budget : {2, 4, 7}) {
      const double over_heads = best(future, 0, 2, 2 * budget) + best(future, 2, 4, 2 * budget);
      const double over_layers = best(future, 0, 4, 4 * budget);
      EXPECT_NEAR(retained(trace, "oracle(over=heads)", std::to_string(budget)), always + over_heads / heads, 1e-6);
      EXPECT_NEAR(retained(trace, "oracle(over=layers)", std::to_string(budget)), always + over_layers / heads, 1e-6);
      EXPECT_EQ(retained(trace, "oracle(over=layers)", std::to_string(budget), "slots_held"), budget);
    }
  }
}

TEST(Oracle, HindsightDividesNearlyAsWellAsAnyDivisionForTheRankingAndNeverBetter) {
  const std::string ranking = "compose(scorer=window,kernel=3,window=4,allocator=";
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const trace::MemoryTrace trace = synthesize(options_of(seed));
    const auto own = curves(trace, ranking + "uniform)");
    const double always = always_retained(trace);
    const double heads = static_cast<double>(trace.model().query_heads * trace.model().layers);
    double largest_gain = 0.0;
    for (const auto& curve : own) largest_gain = std::max(largest_gain, curve.back() - curve.front());
    for (const Index budget : {5, 6, 8}) {
      const double bound = always + best(own, 0, 4, 4 * (budget - 4)) / heads;
      const double found = retained(trace, ranking + "hindsight)", std::to_string(budget));
      EXPECT_LE(found, bound + 1e-6);
      EXPECT_GE(found, bound - largest_gain / heads);  // at most one segment of a curve is lost
      EXPECT_EQ(retained(trace, ranking + "hindsight)", std::to_string(budget), "slots_held"), budget);
    }
  }
}

TEST(Headroom, IsWhatTheBestDivisionsOfTheSameSlotsRetainMore) {
  const std::string policy = "snapkv(kernel=3,window=4)";
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const trace::MemoryTrace trace = synthesize(options_of(seed));
    const auto own = curves(trace, policy);
    const auto future = curves(trace, "oracle(window=4)");
    const double always = always_retained(trace);
    const double heads = static_cast<double>(trace.model().query_heads * trace.model().layers);
    ReplayOptions options;
    options.headroom = true;
    for (const Index budget : {5, 6, 8}) {
      const auto table = replay(trace, std::vector{make_policy(policy), make_policy("criticalkv(window=4)")},
                                parse_budgets(std::to_string(budget)), options)
                             .headroom;
      ASSERT_EQ(table.rows(), 2U);
      const auto value = [&](const char* column) { return *table.number(0, table.column(column)); };
      const double best_counts = always + best(own, 0, 4, 4 * (budget - 4)) / heads;
      EXPECT_LE(value("retained_mass") + value("allocation"), best_counts + 1e-6);
      EXPECT_GE(value("retained_mass") + value("allocation_bound"), best_counts - 1e-6);
      const double best_of_all = always + best(future, 0, 4, 4 * (budget - 4)) / heads;
      EXPECT_NEAR(value("retained_mass") + value("both"), best_of_all, 1e-6);
      EXPECT_LE(value("scoring"), value("both") + 1e-6);
      EXPECT_EQ(value("slots_held"), budget);
      // A ranking that depends on the budget has no counts to be divided otherwise.
      EXPECT_FALSE(table.number(1, table.column("both")).has_value());
      EXPECT_TRUE(table.number(1, table.column("scoring")).has_value());
    }
  }
}

TEST(Oracle, EvictingWhileGeneratingIsJudgedByTheBestChoiceWhichGreedyNearlyReaches) {
  const trace::MemoryTrace trace = synthesize(options_of(3));
  const double still = retained(trace, "oracle", "6");
  const double greedy = retained(trace, "oracle(decode=yes)", "6");
  const double regret = retained(trace, "oracle(decode=yes)", "6", "regret");
  EXPECT_LE(greedy, still + 1e-6);
  EXPECT_LE(greedy + regret, still + 1e-6);  // holding less later is never better
  EXPECT_GE(regret, 0.0);
  // Any rule is below the same best: it holds as many at every step.
  for (const char* policy : {"tova(decode=yes,variant=tova)", "streaming-llm(decode=yes,sinks=0)"}) {
    EXPECT_GE(retained(trace, policy, "6", "regret"), -1e-9) << policy;
  }
}

}  // namespace
}  // namespace evictlab::sim
