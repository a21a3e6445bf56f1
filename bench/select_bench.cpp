// Ranking the scores of one head: our radix sort and select against the standard library's.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "core/select.hpp"

namespace {

using evictlab::core::argsort_descending;
using evictlab::core::top_positions;
using evictlab::core::top_ranked;

// Like attention: positive, over many orders of magnitude.
std::vector<float> scores(const benchmark::State& state) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(-10.0F, 3.0F);
  std::vector<float> values(static_cast<std::size_t>(state.range(0)));
  for (float& value : values) value = std::exp(normal(random));
  return values;
}

void standard_sort(benchmark::State& state) {
  const std::vector<float> values = scores(state);
  for (auto _ : state) {
    std::vector<std::uint32_t> order(values.size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
      return values[a] > values[b] || (values[a] == values[b] && a < b);
    });
    benchmark::DoNotOptimize(order.data());
  }
}
BENCHMARK(standard_sort)->Arg(4096)->Arg(32768)->Arg(131072);

void radix_sort(benchmark::State& state) {
  const std::vector<float> values = scores(state);
  for (auto _ : state) benchmark::DoNotOptimize(argsort_descending(values).data());
}
BENCHMARK(radix_sort)->Arg(4096)->Arg(32768)->Arg(131072);

void radix_select_1024(benchmark::State& state) {
  const std::vector<float> values = scores(state);
  for (auto _ : state) benchmark::DoNotOptimize(top_positions(values, 1024).data());
}
BENCHMARK(radix_select_1024)->Arg(4096)->Arg(32768)->Arg(131072);

void ranked_1024(benchmark::State& state) {
  const std::vector<float> values = scores(state);
  for (auto _ : state) benchmark::DoNotOptimize(top_ranked(values, 1024).data());
}
BENCHMARK(ranked_1024)->Arg(4096)->Arg(32768)->Arg(131072);

}  // namespace
