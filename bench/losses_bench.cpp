// What exact losses cost beyond computing a layer's attention rows and outputs once: one layer of an 8B model's shape
// (32 query and 8 kv heads, d = 128, hidden size 4096), 8192 positions and 256 future queries, random queries, keys and
// values, rankings per kv head, budgets 64 .. 4096 on a logarithmic scale. One thread. EVICTLAB_BENCH_LENGTH and
// _FUTURE change its size.
//
//   rows_and_outputs   once per layer: what all else is compared with
//   runs/R/B           losses of R rankings at B budgets each
//   summary/R/B        the same runs by what mass and output norms give: what --measures summary is left with
//   projection         W_O alone, as many runs as are projected together

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "analysis/losses.hpp"
#include "core/memory.hpp"
#include "core/parallel.hpp"
#include "made_trace.hpp"

namespace {

namespace analysis = evictlab::analysis;
namespace bench = evictlab::bench;
namespace core = evictlab::core;
namespace trace = evictlab::trace;
using trace::Index;

constexpr Index kHidden = 4096;

void fill(core::SplitMix64& random, std::span<float> values, float deviation) {
  for (float& value : values) value = deviation * static_cast<float>(random.uniform() - 0.5);
}

trace::Tensor random_tensor(core::SplitMix64& random, Index heads, Index rows, Index columns, float deviation) {
  trace::Tensor tensor(trace::ElementType::kFloat32, heads, rows, columns);
  fill(random, tensor.floats(), deviation);
  return tensor;
}

struct Layer {
  trace::LayerData data;
  trace::RowMatrix output_weight;
};

const Layer& layer() {
  static const Layer made = [] {
    core::set_threads(1);
    core::keep_freed_memory();
    Layer own;
    trace::LayerShape& shape = own.data.shape;
    shape.layers = 1;
    shape.query_heads = 32;
    shape.kv_heads = 8;
    shape.head_dim = 128;
    shape.prompt_length = bench::from_environment("EVICTLAB_BENCH_LENGTH", 8192);
    shape.future_length = bench::from_environment("EVICTLAB_BENCH_FUTURE", 256);
    shape.window = 1;
    shape.attention_scale = 1 / std::sqrt(128.0);
    const Index positions = shape.prompt_length + shape.future_length;
    core::SplitMix64 random(1);
    own.data.queries = random_tensor(random, 32, 1 + shape.future_length, 128, 6.0F);
    own.data.keys = random_tensor(random, 8, positions, 128, 6.0F);
    own.data.values = random_tensor(random, 8, positions, 128, 1.0F);
    own.data.future_mass = random_tensor(random, 32, 1, positions, 1.0F);
    own.data.output_norms = random_tensor(random, 32, 1, positions, 1.0F);
    own.output_weight = trace::RowMatrix(32 * 128, kHidden);
    fill(random, {own.output_weight.data(), static_cast<std::size_t>(own.output_weight.size())}, 0.05F);
    return own;
  }();
  return made;
}

void rows_and_outputs(benchmark::State& state) {
  const Layer& own = layer();
  const trace::FutureView future = trace::future_view(own.data);
  for (auto _ : state) {
    benchmark::DoNotOptimize(analysis::OutputReference(own.data.shape, future, own.output_weight));
  }
}

// Rankings of the kept sets, and so many counts of each.
struct Nested {
  std::vector<Index> counts;
  std::vector<std::vector<std::int32_t>> rankings;

  Nested(Index n, Index budgets) : rankings(8, std::vector<std::int32_t>(static_cast<std::size_t>(n))) {
    for (Index i = 0; i < budgets; ++i) {
      const double exponent = budgets == 1 ? 0.5 : static_cast<double>(i) / static_cast<double>(budgets - 1);
      counts.push_back(std::llround(static_cast<double>(n) / 128 * std::pow(64.0, exponent)));
    }
    core::SplitMix64 random(2);
    for (auto& ranking : rankings) {
      std::iota(ranking.begin(), ranking.end(), 0);
      for (std::size_t i = ranking.size(); i > 1; --i) std::swap(ranking[i - 1], ranking[random.next() % i]);
    }
  }
  // Of a query head in run r.
  const std::vector<std::int32_t>& ranking(std::size_t head, std::size_t r) const {
    return rankings[(head / 4 + r) % 8];
  }
};

void runs(benchmark::State& state) {
  const Layer& own = layer();
  static const analysis::OutputReference reference(own.data.shape, trace::future_view(own.data), own.output_weight);
  const Nested nested(own.data.shape.prompt_length, state.range(1));
  for (auto _ : state) {
    for (std::size_t r = 0; r < static_cast<std::size_t>(state.range(0)); ++r) {
      std::vector<analysis::NestedSets> heads;
      for (std::size_t h = 0; h < 32; ++h) {
        heads.push_back({.always = {}, .ranked = nested.ranking(h, r), .counts = nested.counts});
      }
      benchmark::DoNotOptimize(reference.losses(heads));
    }
  }
  state.counters["runs"] = static_cast<double>(state.range(0) * state.range(1));
}

void summary(benchmark::State& state) {
  const Layer& own = layer();
  const analysis::SummaryReference reference(own.data.shape, trace::future_view(own.data));
  const Nested nested(own.data.shape.prompt_length, state.range(1));
  std::vector<analysis::KeptSums> sums(nested.counts.size());
  for (auto _ : state) {
    for (std::size_t r = 0; r < static_cast<std::size_t>(state.range(0)); ++r) {
      for (std::size_t h = 0; h < 32; ++h) {
        reference.sums_in_order(static_cast<Index>(h), {}, nested.ranking(h, r), nested.counts, sums);
        benchmark::DoNotOptimize(sums.data());
      }
    }
  }
  state.counters["runs"] = static_cast<double>(state.range(0) * state.range(1));
}

void projection(benchmark::State& state) {
  const Layer& own = layer();
  const analysis::OutputProjection projection(own.output_weight);
  std::vector<analysis::TiledRows> rows;
  for (int i = 0; i < 4; ++i) rows.emplace_back(own.data.shape.future_length, own.output_weight.rows());
  for (auto _ : state) benchmark::DoNotOptimize(projection.norms(rows));
  const double operations = 2.0 * 4 * static_cast<double>(own.data.shape.future_length * own.output_weight.size());
  state.counters["flops"] = benchmark::Counter(operations, benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK(rows_and_outputs)->Unit(benchmark::kMillisecond);
BENCHMARK(projection)->Unit(benchmark::kMillisecond);
BENCHMARK(summary)->ArgNames({"rankings", "budgets"})->Args({16, 64})->Unit(benchmark::kMillisecond);
BENCHMARK(runs)
    ->ArgNames({"rankings", "budgets"})
    ->Args({1, 1})
    ->Args({1, 8})
    ->Args({1, 64})
    ->Args({16, 64})
    ->Unit(benchmark::kMillisecond);

}  // namespace
