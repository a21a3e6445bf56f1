// The methods that NVIDIA kvpress has too, as kvpress defines them, on the trace named by EVICTLAB_BENCH_TRACE: our
// side of bench/against_kvpress.py, which makes the trace and runs this. One thread, a tenth of the prompt kept.
//
//   evict/...   from a layer's recorded rows in memory to its kept positions; per iteration all layers of the trace
//   replay/...  the methods from the trace file, judged by their retained mass, at one or at 64 budgets

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/memory.hpp"
#include "core/parallel.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/eviction.hpp"
#include "sim/replay/replay.hpp"
#include "trace/io/reader.hpp"

namespace {

using namespace evictlab;

// bench/against_kvpress.py has the same list.
const std::vector<std::string> kTwins = {
    "snapkv(variant=kvpress)", "pyramidkv(variant=kvpress)",     "ada-snapkv(variant=kvpress)", "tova(variant=kvpress)",
    "h2o(variant=kvpress)",    "streaming-llm(variant=kvpress)", "random(variant=kvpress)",
};

const trace::TraceReader& source() {
  const char* path = std::getenv("EVICTLAB_BENCH_TRACE");
  if (path == nullptr) throw std::runtime_error("EVICTLAB_BENCH_TRACE must name a trace");
  static const trace::TraceReader given{path};
  return given;
}

const std::vector<trace::LayerData>& layers() {
  static const std::vector<trace::LayerData> read = [] {
    std::vector<trace::LayerData> made;
    for (const trace::Index l : source().prompts().front().layers) {
      made.push_back(source().layer(0, l, trace::kSummaryFields));
    }
    return made;
  }();
  return read;
}

void evict(benchmark::State& state, const std::string& text) {
  core::keep_freed_memory();
  core::set_threads(1);
  const sim::Policy policy = sim::make_policy(text);
  const double slots = sim::Budget::ratio(0.1).real_slots(source().model(), source().prompts().front().prompt_length);
  std::vector<trace::LayerView> views;
  for (const trace::LayerData& layer : layers()) views.push_back(trace::layer_view(layer));
  for (auto _ : state) benchmark::DoNotOptimize(sim::evict(policy, views, slots));
  state.counters["layers"] = static_cast<double>(views.size());
}

void replay(benchmark::State& state, const char* budgets) {
  core::keep_freed_memory();
  core::set_threads(1);
  std::vector<sim::Policy> policies;
  for (const std::string& twin : kTwins) policies.push_back(sim::make_policy(twin));
  const std::vector<sim::Budget> all = sim::parse_budgets(budgets);
  sim::ReplayOptions options;
  options.positions = false;
  for (auto _ : state) benchmark::DoNotOptimize(sim::replay(source(), policies, all, options));
  state.counters["layers"] = static_cast<double>(source().prompts().front().layers.size());
}

const bool registered = [] {
  for (const std::string& twin : kTwins) {
    benchmark::RegisterBenchmark(("evict/" + twin).c_str(), evict, twin)->Unit(benchmark::kMillisecond)->UseRealTime();
  }
  benchmark::RegisterBenchmark("replay/one_budget", replay, "0.1")->Unit(benchmark::kMillisecond)->UseRealTime();
  benchmark::RegisterBenchmark("replay/64_budgets", replay, "128:4096:log64")
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
  return true;
}();

}  // namespace
