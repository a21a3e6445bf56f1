// What replaying every method that evicts once after the prompt costs, in units of what scoring must cost: the distinct
// scorers run once each. Grouping by ranking, shared judging and linear allocators are to keep the whole within 1.5
// times the scorers. Single-threaded, one budget.
//
//   scorers      every distinct scorer, and CAKE's measure of a layer, once per layer
//   evict_all    the methods: scored once per distinct scorer, allocated and selected each
//   replay_...   the same from a trace in memory, judged by the linear measures, for the methods that a summary-tier
//                trace serves; read_summary of it is copying layers out of that trace

#include <benchmark/benchmark.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/parallel.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/eviction.hpp"
#include "sim/replay/replay.hpp"
#include "trace/synthetic.hpp"

namespace {

using namespace evictlab;

constexpr char kSummaryMethods[] =
    "streaming-llm,h2o,tova,snapkv,pyramidkv,ada-snapkv,ada-pyramid,dynamickv,windowkv,cake,criticalkv,critical-adakv,"
    "chunkkv,random,protect-only";
constexpr char kAllMethods[] =
    "streaming-llm,h2o,tova,snapkv,pyramidkv,ada-snapkv,ada-pyramid,dynamickv,windowkv,cake,criticalkv,critical-adakv,"
    "chunkkv,random,protect-only,knorm,keydiff,lagkv,expected-attention,defensivekv,layer-defensivekv,lava,rest-kv,"
    "dropkv,"
    "caote,obcache";

trace::MemoryTrace trace_of(trace::Tier tier, trace::Index length) {
  trace::SyntheticOptions options;
  options.prompts = 1;
  options.layers = 4;
  options.query_heads = 8;
  options.kv_heads = 2;
  options.head_dim = 64;
  options.length = length;
  options.future = 32;
  options.window = 64;
  options.tier = tier;
  return trace::synthesize(options);
}

const std::vector<trace::LayerData>& layers_of(trace::Index length) {
  static std::map<trace::Index, std::vector<trace::LayerData>> known;
  auto& layers = known[length];
  if (layers.empty()) {
    const trace::MemoryTrace trace = trace_of(trace::Tier::kFull, length);
    for (trace::Index l = 0; l < 4; ++l) {
      layers.push_back(trace.layer(0, l, trace::kFullFields.without(trace::Field::kResidualNorms)));
      layers.back().output_weight = std::make_shared<const trace::RowMatrix>(trace.output_weight(l));
    }
  }
  return layers;
}

// One policy per distinct scorer or refiner, whose work is just that.
std::vector<sim::Policy> distinct_scorers(const char* list) {
  std::vector<sim::Policy> alone;
  std::set<std::string> seen;
  for (const sim::Policy& policy : sim::make_policies(list)) {
    for (const auto& scorer : {policy.scorer, policy.refiner}) {
      if (!scorer || !seen.insert(scorer->identity()).second) continue;
      sim::Policy one = sim::make_policy("full");
      one.scorer = scorer;
      one.granularity = scorer->granularity();
      one.protection = policy.protection;
      if (scorer == policy.scorer && !policy.allocator->traits().statistics.identity.empty())
        one.allocator = policy.allocator;
      alone.push_back(std::move(one));
    }
  }
  return alone;
}

void run_scorers(benchmark::State& state, const char* list) {
  const auto& layers = layers_of(state.range(0));
  const std::vector<sim::Policy> policies = distinct_scorers(list);
  for (auto _ : state) {
    for (const trace::LayerData& layer : layers) {
      const trace::LayerView view = trace::layer_view(layer);
      for (const sim::Policy& policy : policies) benchmark::DoNotOptimize(sim::score_layer(policy, view));
    }
  }
  state.counters["scorers"] = static_cast<double>(policies.size());
}

void scorers(benchmark::State& state) { run_scorers(state, kAllMethods); }
void scorers_of_summary_methods(benchmark::State& state) { run_scorers(state, kSummaryMethods); }

// What replay does but for reading and judging: every distinct scorer once, every policy on its scores.
void evict_all(benchmark::State& state) {
  const auto& layers = layers_of(state.range(0));
  const std::vector<sim::Policy> policies = sim::make_policies(kAllMethods);
  const auto key = [](const sim::Policy& policy) {
    return (policy.scorer ? policy.scorer->identity() : "") + (policy.refiner ? policy.refiner->identity() : "") +
           policy.allocator->traits().statistics.identity + policy.protection.text();
  };
  for (auto _ : state) {
    std::vector<sim::Eviction> evictions;
    for (const sim::Policy& policy : policies) {
      evictions.emplace_back(policy, static_cast<trace::Index>(layers.size()),
                             static_cast<double>(state.range(0)) / 16);
    }
    for (const trace::LayerData& layer : layers) {
      const trace::LayerView view = trace::layer_view(layer);
      std::map<std::string, sim::Importance> known;
      for (std::size_t p = 0; p < policies.size(); ++p) {
        const auto found = known.try_emplace(key(policies[p]));
        if (found.second) found.first->second = sim::score_layer(policies[p], view);
        evictions[p].observe(view, found.first->second, nullptr);
      }
    }
    for (sim::Eviction& eviction : evictions) benchmark::DoNotOptimize(eviction.finish());
  }
  state.counters["policies"] = static_cast<double>(policies.size());
}

void replay_summary_methods(benchmark::State& state) {
  core::set_threads(1);
  const trace::MemoryTrace trace = trace_of(trace::Tier::kSummary, state.range(0));
  const std::vector<sim::Policy> policies = sim::make_policies(kSummaryMethods);
  const std::vector<sim::Budget> budgets = {sim::Budget::slots(state.range(0) / 16)};
  for (auto _ : state) benchmark::DoNotOptimize(sim::replay(trace, policies, budgets));
  state.counters["policies"] = static_cast<double>(policies.size());
}

void read_summary(benchmark::State& state) {
  const trace::MemoryTrace trace = trace_of(trace::Tier::kSummary, state.range(0));
  for (auto _ : state) {
    for (trace::Index l = 0; l < 4; ++l) benchmark::DoNotOptimize(trace.layer(0, l, trace::kSummaryFields));
  }
}

// One policy from scoring to its kept positions.
void evict_one(benchmark::State& state, const std::string& text) {
  const auto& layers = layers_of(8192);
  const sim::Policy policy = sim::make_policy(text);
  std::vector<trace::LayerView> views;
  for (const trace::LayerData& layer : layers) views.push_back(trace::layer_view(layer));
  for (auto _ : state) benchmark::DoNotOptimize(sim::evict(policy, views, 512));
}

BENCHMARK(scorers)->Arg(2048)->Arg(8192)->Unit(benchmark::kMillisecond);
BENCHMARK(scorers_of_summary_methods)->Arg(2048)->Arg(8192)->Unit(benchmark::kMillisecond);
BENCHMARK(evict_all)->Arg(2048)->Arg(8192)->Unit(benchmark::kMillisecond);
BENCHMARK(read_summary)->Arg(2048)->Arg(8192)->Unit(benchmark::kMillisecond);
BENCHMARK(replay_summary_methods)->Arg(2048)->Arg(8192)->Unit(benchmark::kMillisecond);

const bool registered = [] {
  for (const sim::PolicySpec& spec : sim::parse_policies(kAllMethods)) {
    benchmark::RegisterBenchmark(("evict/" + spec.name).c_str(), evict_one, spec.name)->Unit(benchmark::kMillisecond);
  }
  return true;
}();

}  // namespace
