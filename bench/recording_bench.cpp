// What reading and recording a prompt take: evictlab_recording_bench MODEL TOKENS RUNS
//
// Prints JSON, seconds, medians of the runs, ways taken in turn:
//   prefill          the prompt read, nothing looked at
//   forward          the prompt and 32 future tokens after it
//   summary, full    the same, recorded to a trace in memory-backed storage (/dev/shm)
//   gather_summary   the passes with everything gathered, nothing written: what is left of `summary` is writing
//   decode           one token after the prompt

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "core/memory.hpp"
#include "runtime/gathering.hpp"
#include "runtime/recorder.hpp"

namespace {

using namespace evictlab;
using runtime::Index;

constexpr Index kFuture = 32;

runtime::TokenizedPrompt made_prompt(Index tokens, Index vocabulary) {
  runtime::TokenizedPrompt prompt;
  prompt.id = "prompt";
  for (Index i = 0; i < tokens; ++i) {
    const auto token = static_cast<std::int32_t>((i * 7919 + 13) % (vocabulary - 3) + 3);
    (i < tokens - kFuture ? prompt.tokens : prompt.future).push_back(token);
  }
  return prompt;
}

class Bench {
 public:
  Bench(const std::filesystem::path& directory, Index tokens)
      : model_(directory),
        info_(runtime::model_info(model_, "")),
        prompt_(made_prompt(tokens, model_.config().vocab_size)) {}

  void prefill() const {
    runtime::KvCache cache = model_.make_cache(length());
    model_.forward(prompt_.tokens, cache);
  }

  void forward() const {
    runtime::KvCache cache = model_.make_cache(length());
    model_.forward(prompt_.tokens, cache);
    model_.forward(prompt_.future, cache);
  }

  void gather_summary() const {
    const runtime::RecordOptions options;
    const trace::PromptInfo info = runtime::recorded_info(prompt_, model_.config(), options);
    const auto drop = [](trace::LayerData&&) {};
    runtime::PromptGathering first(model_, info_, info, {trace::Field::kWindowAttention | trace::Field::kAttentionMass},
                                   drop);
    runtime::FutureGathering second(model_, info_, info, {trace::kSummaryFields}, {}, drop);
    runtime::KvCache cache = model_.make_cache(length());
    model_.forward(prompt_.tokens, cache, &first);
    model_.forward(prompt_.future, cache, &second);
  }

  void record(trace::Tier tier) const {
    const std::filesystem::path path = fmt::format("/dev/shm/evictlab-bench-{}.h5", getpid());
    runtime::RecordOptions options;
    options.tier = tier;
    {
      trace::TraceWriter writer({.path = path, .force = true, .keep_parts = true}, info_);
      if (tier == trace::Tier::kFull) {
        for (Index layer = 0; layer < info_.layers; ++layer)
          writer.write_output_weight(layer, model_.output_weight(layer));
      }
      runtime::record_prompt(model_, prompt_, options, writer, [](double) {});
      writer.finish();
    }
    std::filesystem::remove_all(path.string() + ".parts");
  }

  double decode() const {
    runtime::KvCache cache = model_.make_cache(length() + kFuture);
    model_.forward(prompt_.tokens, cache);
    const auto start = std::chrono::steady_clock::now();
    for (const std::int32_t token : prompt_.future) model_.forward({&token, 1}, cache);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    return taken.count() / static_cast<double>(prompt_.future.size());
  }

 private:
  Index length() const { return static_cast<Index>(prompt_.tokens.size() + prompt_.future.size()); }

  runtime::Transformer model_;
  trace::ModelInfo info_;
  runtime::TokenizedPrompt prompt_;
};

double seconds(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: evictlab_recording_bench MODEL TOKENS RUNS\n";
    return 2;
  }
  core::keep_freed_memory();
  const Bench bench(argv[1], std::atol(argv[2]));
  std::map<std::string, std::vector<double>> taken;
  bench.forward();  // maps the weights
  for (int run = 0; run < std::atoi(argv[3]); ++run) {
    taken["prefill"].push_back(seconds([&] { bench.prefill(); }));
    taken["forward"].push_back(seconds([&] { bench.forward(); }));
    taken["gather_summary"].push_back(seconds([&] { bench.gather_summary(); }));
    taken["summary"].push_back(seconds([&] { bench.record(trace::Tier::kSummary); }));
    taken["full"].push_back(seconds([&] { bench.record(trace::Tier::kFull); }));
    taken["decode"].push_back(bench.decode());
  }
  std::string json = "{";
  for (const auto& [name, values] : taken)
    json += fmt::format("{}\"{}\": {}", json.size() > 1 ? ", " : "", name, median(values));
  std::cout << json << "}\n";
  return 0;
}
