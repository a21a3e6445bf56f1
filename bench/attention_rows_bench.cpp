// Softmax attention rows of one layer's last 32 queries over 32768 half-precision keys (32 query heads, 8 kv heads of
// 128), kv heads in parallel: what judging the exact loss needs of every layer. Argument: threads. Products alone are
// counted as operations, two each. bench/against_pytorch.py times the same in PyTorch, which makes a new array for the
// rows each time; here they are written to the same memory, which saves the system 60 ms of handing out 128 MiB.

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/attention_kernels.hpp"
#include "core/parallel.hpp"

namespace {

using namespace evictlab;

constexpr std::size_t kQueryHeads = 32;
constexpr std::size_t kKvHeads = 8;
constexpr std::size_t kQueries = 32;
constexpr std::size_t kKeys = 32768;
constexpr std::size_t kDim = 128;
constexpr std::size_t kRows = kQueryHeads / kKvHeads * kQueries;  // of one kv head

struct Layer {
  std::vector<core::Half> queries;  // [H, w, d]
  std::vector<core::Half> keys;     // [G, n, d]
  std::vector<core::VisibleKeys> visible;
  std::vector<float> rows;  // [H, w, n]
};

std::vector<core::Half> random_halves(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<core::Half> halves(count);
  for (core::Half& half : halves) half = core::to_half(normal(random));
  return halves;
}

Layer& layer() {
  static Layer layer = [] {
    Layer made{random_halves(kQueryHeads * kQueries * kDim, 1), random_halves(kKvHeads * kKeys * kDim, 2), {}, {}};
    for (std::size_t r = 0; r < kRows; ++r) made.visible.push_back({0, kKeys - kQueries + r % kQueries + 1});
    made.rows.resize(kQueryHeads * kQueries * kKeys);
    return made;
  }();
  return layer;
}

void attention_rows(benchmark::State& state, const core::AttentionKernels& kernels) {
  Layer& data = layer();
  core::set_threads(static_cast<std::size_t>(state.range(0)));
  const float scale = 1.0F / std::sqrt(static_cast<float>(kDim));
  for (auto _ : state) {
    core::parallel_for(kKvHeads, [&](std::size_t g) {
      std::vector<float> queries(kRows * kDim);
      core::to_float(std::span(data.queries).subspan(g * queries.size(), queries.size()), queries);
      core::attention_rows(kernels, queries,
                           std::span<const core::Half>(data.keys).subspan(g * kKeys * kDim, kKeys * kDim), kDim, scale,
                           data.visible, std::span(data.rows).subspan(g * kRows * kKeys, kRows * kKeys));
    });
    benchmark::ClobberMemory();
  }
  core::set_threads(0);
  const auto operations = static_cast<double>(2 * kQueryHeads * kQueries * kKeys * kDim);
  state.counters["FLOP/s"] =
      benchmark::Counter(operations, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

const bool kRegistered = [] {
  bool fastest = true;
  for (const core::AttentionKernels& kernels : core::attention_kernels()) {
    if (!kernels.supported) continue;
    auto* registered =
        benchmark::RegisterBenchmark(("attention_rows/" + std::string(kernels.name)).c_str(), attention_rows, kernels);
    registered->UseRealTime()->Unit(benchmark::kMillisecond)->Arg(1);
    if (fastest) registered->Arg(2);
    fastest = false;
  }
  return true;
}();

}  // namespace
