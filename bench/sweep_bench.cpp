// A whole sweep against one policy at one budget, from a trace file in the page cache: what one ranking for every
// budget is worth. One prompt of an 8B model's heads, summary tier, made for the purpose; EVICTLAB_BENCH_LENGTH and
// _LAYERS change its size, EVICTLAB_BENCH_TRACE names another trace.

#include <benchmark/benchmark.h>

#include <cstdlib>

#include "core/memory.hpp"
#include "core/parallel.hpp"
#include "made_trace.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/replay.hpp"
#include "trace/io/reader.hpp"

namespace {

namespace core = evictlab::core;
namespace sim = evictlab::sim;
namespace trace = evictlab::trace;
using evictlab::bench::MadeTrace;

constexpr const char* kTwelve =
    "random,streaming-llm,h2o,tova,snapkv,pyramidkv,ada-snapkv,ada-pyramid,dynamickv,windowkv,cake,oracle";

const trace::Source& source() {
  if (const char* path = std::getenv("EVICTLAB_BENCH_TRACE")) {
    static const trace::TraceReader given{path};
    return given;
  }
  static const MadeTrace file;
  static const trace::TraceReader made{file.path()};
  return made;
}

void run(benchmark::State& state, const char* policies, const char* budgets, bool headroom = false) {
  core::keep_freed_memory();
  core::set_threads(static_cast<std::size_t>(state.range(0)));
  const std::vector<sim::Policy> made = sim::make_policies(policies);
  const std::vector<sim::Budget> all = sim::parse_budgets(budgets);
  sim::ReplayOptions options;
  options.positions = false;
  options.headroom = headroom;
  for (auto _ : state) benchmark::DoNotOptimize(sim::replay(source(), made, all, options));
  state.counters["runs"] = static_cast<double>(made.size() * all.size());
}

void read_and_hash(benchmark::State& state) {
  for (auto _ : state) {
    for (const trace::Index layer : source().prompts().front().layers) {
      benchmark::DoNotOptimize(source().layer(0, layer, trace::kSummaryFields));
    }
  }
}

// Each of the twelve by itself at one budget: a twelfth of this is what one policy takes on average.
void one_by_one(benchmark::State& state) {
  core::keep_freed_memory();
  core::set_threads(1);
  sim::ReplayOptions options;
  options.positions = false;
  const std::vector<sim::Budget> budgets = sim::parse_budgets("1024");
  for (auto _ : state) {
    for (const sim::Policy& policy : sim::make_policies(kTwelve)) {
      benchmark::DoNotOptimize(sim::replay(source(), std::span(&policy, 1), budgets, options));
    }
  }
}

BENCHMARK(read_and_hash)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(run, one_policy_one_budget, "snapkv", "1024")
    ->Arg(1)
    ->Arg(2)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(run, one_policy_64_budgets, "snapkv", "64:4096:log64")
    ->Arg(1)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK(one_by_one)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(run, twelve_policies_one_budget, kTwelve, "1024")
    ->Arg(1)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(run, twelve_policies_64_budgets, kTwelve, "64:4096:log64")
    ->Arg(1)
    ->Arg(2)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(run, twelve_policies_64_budgets_headroom, kTwelve, "64:4096:log64", true)
    ->Arg(1)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
