// What a really compacted cache saves while decoding, and what evicting costs while a prompt is read.
//
//   decode_attention   one layer's attention for one token, all heads, at so many kept of 2048 positions; one thread.
//                      Arguments: kept, shape (0 = the shipped model's: 8 query heads, 4 kv heads, dimension 32;
//                      1 = an 8B model's layer: 32, 8, 128)
//   decode_token       a whole token of the shipped model, kept of all positions it can hold of 2048
//   prefill            the shipped model reading 2048 tokens, or as many as it has positions for, without and with each
//                      policy: its counter `overhead` is the share that gathering, scoring and compacting add to the
//                      plain prefill, measured in turns in the same loop

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "core/fixed_blocking.hpp"
#include "core/parallel.hpp"
#include "runtime/attention.hpp"
#include "runtime/live/prompt_eviction.hpp"
#include "sim/policy/registry.hpp"

namespace {

using namespace evictlab;
using runtime::Index;

constexpr Index kLength = 2048;
constexpr double kSlots = 128;
constexpr const char* kPolicies[] = {"snapkv",
                                     "pyramidkv",
                                     "ada-snapkv",
                                     "ada-pyramid",
                                     "dynamickv",
                                     "windowkv",
                                     "cake",
                                     "criticalkv",
                                     "chunkkv",
                                     "tova",
                                     "h2o",
                                     "streaming-llm",
                                     "knorm",
                                     "keydiff",
                                     "lagkv",
                                     "random",
                                     "expected-attention"};

const runtime::Transformer& model() {
  static const runtime::Transformer model(EVICTLAB_SOURCE_DIR "/models/demo");
  return model;
}

Index prompt_length() { return std::min(kLength, model().config().max_positions - 1); }

std::vector<std::int32_t> tokens(Index count) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<std::int32_t>((i * 7919 + 13) % static_cast<std::size_t>(model().config().vocab_size));
  }
  return ids;
}

/// `kept` of the positions of every head of a layer, spread over them.
void keep_spread(runtime::KvCache& cache, Index layer, Index kept) {
  for (Index head = 0; head < cache.heads(layer); ++head) {
    const Index held = cache.length(layer, head);
    std::vector<std::int32_t> positions;
    for (Index i = 0; i < kept; ++i) positions.push_back(static_cast<std::int32_t>(i * held / kept));
    cache.keep(layer, head, positions);
  }
  cache.shrink(layer);
}

void decode_attention(benchmark::State& state) {
  core::use_fixed_blocking();
  core::set_threads(1);
  const bool large = state.range(1) != 0;
  const Index heads = large ? 32 : 8;
  const Index kv_heads = large ? 8 : 4;
  const Index d = large ? 128 : 32;
  runtime::KvCache cache(1, kv_heads, d, kLength);
  for (Index head = 0; head < kv_heads; ++head) {
    runtime::KvCache::NewSlots slots = cache.append(0, head, kLength);
    slots.keys.setRandom();
    slots.values.setRandom();
  }
  cache.advance(kLength);
  keep_spread(cache, 0, state.range(0));
  const runtime::RowMatrix queries = runtime::RowMatrix::Random(heads, d);
  const trace::TensorView asked(queries.data(), heads, 1, d);
  runtime::RowMatrix output(1, heads * d);
  for (auto _ : state) {
    runtime::cached_attention(asked, cache, 0, 0.1F, 0, output, {});
    benchmark::ClobberMemory();
  }
  core::set_threads(0);
}

void decode_token(benchmark::State& state) {
  core::set_threads(1);
  const std::vector<std::int32_t> ids = tokens(prompt_length());
  runtime::KvCache filled = model().make_cache(prompt_length());
  model().forward(ids, filled);
  const Index kept = std::min<Index>(state.range(0), prompt_length());
  for (Index layer = 0; layer < filled.layers(); ++layer) keep_spread(filled, layer, kept);
  filled.make_room(1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(model().forward({ids.data(), 1}, filled));
    filled.truncate(prompt_length());
  }
  core::set_threads(0);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void prefill(benchmark::State& state, const std::string& text) {
  core::set_threads(1);
  const std::vector<std::int32_t> ids = tokens(prompt_length());
  const trace::ModelInfo info = runtime::model_info(model(), "");
  const sim::Policy policy = sim::make_policy(text);
  std::vector<double> ratios;
  for (auto _ : state) {
    auto start = std::chrono::steady_clock::now();
    {
      runtime::KvCache cache = model().make_cache(prompt_length());
      benchmark::DoNotOptimize(model().forward(ids, cache));
    }
    const double plain = seconds_since(start);
    start = std::chrono::steady_clock::now();
    {
      runtime::KvCache cache = model().make_cache(prompt_length());
      runtime::PromptEviction eviction(model(), info, policy, kSlots, prompt_length(), cache);
      benchmark::DoNotOptimize(model().forward(ids, cache, eviction.observer()));
      eviction.finish();
    }
    const double evicting = seconds_since(start);
    state.SetIterationTime(evicting);
    ratios.push_back(evicting / plain - 1.0);
  }
  std::ranges::sort(ratios);
  state.counters["overhead"] = ratios[ratios.size() / 2];
  core::set_threads(0);
}

BENCHMARK(decode_attention)->ArgsProduct({{128, 2048}, {0, 1}})->Unit(benchmark::kMicrosecond);
BENCHMARK(decode_token)->Arg(128)->Arg(2048)->Unit(benchmark::kMicrosecond);

const bool registered = [] {
  for (const char* policy : kPolicies) {
    benchmark::RegisterBenchmark((std::string("prefill/") + policy).c_str(),
                                 [policy](benchmark::State& state) { prefill(state, policy); })
        ->Iterations(7)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  }
  return true;
}();

}  // namespace
