// A whole sweep against one policy at one budget, from a trace file in the page cache: what one ranking for every
// budget is worth. One prompt of an 8B model's heads, summary tier, made for the purpose; EVICTLAB_BENCH_LENGTH and
// _LAYERS change its size, EVICTLAB_BENCH_TRACE names another trace.

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "core/memory.hpp"
#include "core/parallel.hpp"
#include "core/random.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/replay.hpp"
#include "trace/io/reader.hpp"
#include "trace/io/writer.hpp"

namespace {

namespace core = evictlab::core;
namespace fs = std::filesystem;
namespace sim = evictlab::sim;
namespace trace = evictlab::trace;

constexpr const char* kTwelve =
    "random,streaming-llm,h2o,tova,snapkv,pyramidkv,ada-snapkv,ada-pyramid,dynamickv,windowkv,cake,oracle";

trace::Index from_environment(const char* name, trace::Index otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atol(text);
}

// Attention as trained models have it, as far as selection cares: positive, over many orders of magnitude, without
// ties, a few positions much liked by window and future alike.
class Attention {
 public:
  explicit Attention(std::uint64_t seed) : random_(seed), noise_(4096) {
    for (float& value : noise_) value = std::exp(static_cast<float>(normal()));
  }
  std::vector<float> liking(trace::Index positions) {
    std::vector<float> row(static_cast<std::size_t>(positions));
    for (float& value : row) value = std::exp(2.0F * static_cast<float>(normal()));
    return row;
  }
  // The liking with noise, of sum `total`.
  std::vector<float> noisy(const std::vector<float>& liking, double total) {
    std::vector<float> row(liking.size());
    double sum = 0.0;
    for (std::size_t j = 0; j < row.size(); ++j) {
      const std::uint64_t bits = random_.next();
      row[j] = liking[j] * noise_[bits % noise_.size()] * (1.0F + 0x1p-24F * static_cast<float>(bits >> 44U));
      sum += row[j];
    }
    for (float& value : row) value *= static_cast<float>(total / sum);
    return row;
  }

 private:
  double normal() {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) sum += random_.uniform();
    return sum;
  }
  core::SplitMix64 random_;
  std::vector<float> noise_;
};

trace::MemoryTrace::Prompt made_prompt(const trace::ModelInfo& model, trace::PromptInfo info) {
  trace::MemoryTrace::Prompt prompt;
  Attention attention(1);
  const trace::Index n = info.prompt_length;
  const trace::Index positions = n + info.future_length;
  for (trace::Index l = 0; l < model.layers; ++l) {
    info.layers.push_back(l);
    trace::LayerData layer;
    layer.shape = trace::layer_shape(model, info, l);
    using trace::ElementType;
    layer.window_attention =
        trace::Tensor(ElementType::kFloat16, model.query_heads, info.window, n, trace::kWindowAttentionScale);
    layer.attention_mass = trace::Tensor(ElementType::kFloat32, model.query_heads, 1, n);
    layer.future_mass = trace::Tensor(ElementType::kFloat32, model.query_heads, 1, positions);
    layer.output_norms = trace::Tensor(ElementType::kFloat32, model.query_heads, 1, positions);
    for (trace::Index h = 0; h < model.query_heads; ++h) {
      const std::vector<float> prompt_liking = attention.liking(n);
      std::vector<float> liking = prompt_liking;
      liking.resize(static_cast<std::size_t>(positions), 1.0F);
      for (trace::Index t = 0; t < info.window; ++t) {
        layer.window_attention.set_row(h, t, attention.noisy(prompt_liking, 1.0));
      }
      layer.attention_mass.set_row(h, 0, attention.noisy(prompt_liking, static_cast<double>(n)));
      layer.future_mass.set_row(h, 0, attention.noisy(liking, static_cast<double>(info.future_length)));
      layer.output_norms.set_row(h, 0, attention.liking(positions));
    }
    prompt.layers.push_back(std::move(layer));
  }
  prompt.info = std::move(info);
  prompt.tokens.resize(static_cast<std::size_t>(positions));
  return prompt;
}

// Made once, removed at the end.
class TraceFile {
 public:
  TraceFile() : directory_(fs::temp_directory_path() / ("evictlab-sweep-bench-" + std::to_string(getpid()))) {
    trace::ModelInfo model;
    model.name = model.architecture = model.fingerprint = "made";
    model.layers = from_environment("EVICTLAB_BENCH_LAYERS", 4);
    model.query_heads = 32;
    model.kv_heads = 8;
    model.head_dim = 128;
    model.hidden_size = 4096;
    model.attention_scale = 0.088;
    model.position_encoding = "none";
    model.sliding_windows.assign(static_cast<std::size_t>(model.layers), 0);
    trace::PromptInfo info;
    info.id = "made";
    info.prompt_length = from_environment("EVICTLAB_BENCH_LENGTH", 32768);
    info.future_length = 32;
    info.future_kind = "teacher-forced";
    info.window = 32;
    fs::create_directories(directory_);
    trace::TraceWriter writer({.path = directory_ / "trace.h5"}, model);
    writer.write_prompt(made_prompt(model, std::move(info)));
    reader_ = std::make_unique<trace::TraceReader>(writer.finish());
  }
  ~TraceFile() {
    reader_.reset();
    fs::remove_all(directory_);
  }
  const trace::Source& source() const { return *reader_; }

 private:
  fs::path directory_;
  std::unique_ptr<trace::TraceReader> reader_;
};

const trace::Source& source() {
  if (const char* path = std::getenv("EVICTLAB_BENCH_TRACE")) {
    static const trace::TraceReader given{path};
    return given;
  }
  static const TraceFile file;
  return file.source();
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
