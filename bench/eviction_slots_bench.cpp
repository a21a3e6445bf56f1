// The best eviction while generating, exact against greedy, of one kept set that holds an eighth of n prompt positions
// and then lets one leave per query. Arguments: n, T. Counters: the share of all attention that is retained, and what
// greedy retains of the most.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "analysis/eviction_slots.hpp"

namespace {

using namespace evictlab;

// Rows that sum to 1: positions log-normal, each with a level of its own, with strong sinks and recent positions.
trace::RowMatrix attention_rows(trace::Index n, trace::Index queries) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> level(static_cast<std::size_t>(n + queries));
  for (float& x : level) x = 2 * normal(random);
  for (std::size_t sink = 0; sink < 4; ++sink) level[sink] += 8;
  trace::RowMatrix rows = trace::RowMatrix::Zero(queries, n + queries);
  for (trace::Index t = 0; t < queries; ++t) {
    for (trace::Index j = 0; j <= n + t; ++j) {
      const float recency = 4 * std::exp(-static_cast<float>(n + t - j) / 16);
      rows(t, j) = std::exp(level[static_cast<std::size_t>(j)] + recency + 1.5F * normal(random));
    }
    rows.row(t) /= rows.row(t).sum();
  }
  return rows;
}

template <typename Evict>
void evict(benchmark::State& state, const Evict& eviction) {
  const auto n = static_cast<trace::Index>(state.range(0));
  const auto queries = static_cast<trace::Index>(state.range(1));
  const trace::RowMatrix rows = attention_rows(n, queries);
  std::vector<std::int32_t> capacity(static_cast<std::size_t>(queries), 1);
  capacity[0] = static_cast<std::int32_t>(n - n / 8);
  const analysis::EvictionSlots slots{.capacity = capacity, .sinks = 4, .recent = 16};
  double retained = 0;
  for (auto _ : state) retained = eviction(rows, slots).retained;
  state.counters["retained"] = retained / static_cast<double>(queries);
  state.counters["of_the_most"] = retained / analysis::optimal_eviction(rows, slots).retained;
}
BENCHMARK_CAPTURE(evict, optimal, analysis::optimal_eviction)
    ->Args({1000, 64})
    ->Args({8192, 256})
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(evict, greedy, analysis::greedy_eviction)
    ->Args({1000, 64})
    ->Args({8192, 256})
    ->Unit(benchmark::kMillisecond);

}  // namespace
