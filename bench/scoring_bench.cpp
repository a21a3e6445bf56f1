// Scoring one layer from its stored attention rows (32 query heads, 8 kv heads, the last 32 queries of 32768 positions,
// halves: 64 MiB), against merely reading them. Four layers take turns, so that every row comes from memory.
//
//   read_rows      the floor: sums the rows' 64-bit words
//   snapkv         window attention, max-pooled over 7, and the best 1024 positions of every kv head; by threads
//   mean_variance  CAKE's scores
//   cake_measure   CAKE's dispersion and shift of the layer
//   window_blocks  WindowKV's scores
//
// Run with --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true and compare medians.

#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/parallel.hpp"
#include "core/select.hpp"
#include "sim/policy/cake/formulas.hpp"
#include "sim/policy/scorer.hpp"
#include "trace/layer.hpp"

namespace {

using namespace evictlab;

constexpr trace::Index kWindow = 32;
constexpr trace::Index kPositions = 32768;
constexpr std::size_t kKept = 1024;

trace::LayerData random_layer(std::uint32_t seed) {
  trace::LayerData layer;
  layer.shape.layers = 4;
  layer.shape.query_heads = 32;
  layer.shape.kv_heads = 8;
  layer.shape.prompt_length = kPositions;
  layer.shape.window = kWindow;
  layer.window_attention =
      trace::Tensor(trace::ElementType::kFloat16, 32, kWindow, kPositions, trace::kWindowAttentionScale);
  std::mt19937 random(seed);
  // Weights over many orders of magnitude, most of them below 1/n.
  std::uniform_int_distribution<int> bits(0, 0x3BFF);
  for (core::Half& weight : layer.window_attention.halves()) weight.bits = static_cast<std::uint16_t>(bits(random));
  return layer;
}

// The layers in turn, one per call.
const trace::LayerData& next_layer() {
  static const std::array layers = {random_layer(1), random_layer(2), random_layer(3), random_layer(4)};
  static std::size_t turn = 0;
  return layers[turn++ % layers.size()];
}

void read_rows(benchmark::State& state) {
  for (auto _ : state) {
    const std::span<const core::Half> halves = next_layer().window_attention.halves();
    std::array<std::uint64_t, 32> sums{};
    for (std::size_t i = 0; i < halves.size(); i += 4 * sums.size()) {
      for (std::size_t k = 0; k < sums.size(); ++k) {
        std::uint64_t word = 0;
        std::memcpy(&word, halves.data() + i + 4 * k, sizeof(word));
        sums[k] += word;
      }
    }
    benchmark::DoNotOptimize(sums);
  }
}

trace::RowMatrix scores_for(const sim::Scorer& scorer) {
  return {sim::set_count(scorer.granularity(), next_layer().shape), kPositions};
}

void snapkv(benchmark::State& state) {
  core::set_threads(static_cast<std::size_t>(state.range(0)));
  const auto scorer = sim::make_scorer({"window"});
  trace::RowMatrix scores = scores_for(*scorer);
  for (auto _ : state) {
    scorer->score(trace::layer_view(next_layer()), scores);
    core::parallel_for(static_cast<std::size_t>(scores.rows()), [&](std::size_t set) {
      const float* row = scores.data() + static_cast<trace::Index>(set) * kPositions;
      benchmark::DoNotOptimize(core::top_positions({row, kPositions - kWindow}, kKept).data());
    });
  }
}

void score(benchmark::State& state, const sim::Scorer& scorer) {
  core::set_threads(static_cast<std::size_t>(state.range(0)));
  trace::RowMatrix scores = scores_for(scorer);
  for (auto _ : state) {
    scorer.score(trace::layer_view(next_layer()), scores);
    benchmark::DoNotOptimize(scores.data());
  }
}
void mean_variance(benchmark::State& state) { score(state, *sim::make_scorer({"mean-variance"})); }
void window_blocks(benchmark::State& state) { score(state, *sim::make_scorer({"window-blocks"})); }

void cake_measure(benchmark::State& state) {
  core::set_threads(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(sim::cake_spread(trace::layer_view(next_layer()), kWindow));
}

BENCHMARK(read_rows)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(snapkv)->ArgName("threads")->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(mean_variance)->ArgName("threads")->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(cake_measure)->ArgName("threads")->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(window_blocks)->ArgName("threads")->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
