// Prefill and decoding of the shipped model, and attention of one head by itself. Items are tokens (queries).

#include <benchmark/benchmark.h>

#include <cstdint>
#include <span>
#include <vector>

#include "core/fixed_blocking.hpp"
#include "core/parallel.hpp"
#include "runtime/attention.hpp"
#include "runtime/transformer.hpp"

namespace {

using namespace evictlab;

const runtime::Transformer& model() {
  static const runtime::Transformer model(EVICTLAB_SOURCE_DIR "/models/demo");
  return model;
}

std::vector<std::int32_t> tokens(std::int64_t count) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>((i * 7919 + 13) % 512);
  return ids;
}

/// Sums the columns of every row, as recording attention mass does.
class MassObserver : public runtime::ForwardObserver {
 public:
  MassObserver(runtime::Index heads, runtime::Index n)
      : mass_(static_cast<std::size_t>(heads), std::vector<double>(static_cast<std::size_t>(n))) {}

  void on_attention(runtime::Index /*layer*/, runtime::Index head, runtime::Index /*first*/,
                    const runtime::RowMatrixView& rows) override {
    std::vector<double>& mass = mass_[static_cast<std::size_t>(head)];
    for (runtime::Index i = 0; i < rows.rows(); ++i) {
      const float* row = rows.row(i).data();
      for (runtime::Index j = 0; j < rows.cols(); ++j) mass[static_cast<std::size_t>(j)] += static_cast<double>(row[j]);
    }
  }

 private:
  std::vector<std::vector<double>> mass_;  // [H] of [n]
};

/// Arguments: tokens, threads, whether an observer sums the attention.
void prefill(benchmark::State& state) {
  const std::vector<std::int32_t> ids = tokens(state.range(0));
  core::set_threads(static_cast<std::size_t>(state.range(1)));
  for (auto _ : state) {
    MassObserver observer(model().config().query_heads, state.range(0));
    runtime::KvCache cache = model().make_cache(state.range(0));
    benchmark::DoNotOptimize(model().forward(ids, cache, state.range(2) != 0 ? &observer : nullptr));
  }
  core::set_threads(0);
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

/// Argument: tokens in the cache.
void decode(benchmark::State& state) {
  const std::vector<std::int32_t> ids = tokens(state.range(0));
  runtime::KvCache filled = model().make_cache(state.range(0) + 1);
  model().forward(ids, filled);
  for (auto _ : state) {
    state.PauseTiming();
    runtime::KvCache cache = filled;
    state.ResumeTiming();
    benchmark::DoNotOptimize(model().forward(std::span(ids).first(1), cache));
  }
  state.SetItemsProcessed(state.iterations());
}

/// Arguments: queries = keys, head dimension. One thread.
void attention_head(benchmark::State& state) {
  core::use_fixed_blocking();
  const runtime::RowMatrix states = runtime::RowMatrix::Random(state.range(0), state.range(1));
  const runtime::RowMatrixView view(states.data(), states.rows(), states.cols(), Eigen::OuterStride<>(states.cols()));
  runtime::RowMatrix output(states.rows(), states.cols());
  for (auto _ : state) {
    runtime::causal_attention(view, view, view, 0.2F, output, {});
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

BENCHMARK(prefill)->ArgsProduct({{500, 1000, 2000}, {1, 2}, {0, 1}})->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(decode)->Arg(500)->Arg(2000)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(attention_head)->Args({2000, 32})->Args({2000, 128})->Unit(benchmark::kMillisecond);

}  // namespace
