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
#include <memory>
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
        prompt_(made_prompt(tokens, model_.config().vocab_size)) {
    std::filesystem::create_directories(directory_);
  }
  ~Bench() {
    writers_.clear();
    std::filesystem::remove_all(directory_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

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

  /// A prompt more in a trace that grows: what begins and ends a trace is not counted.
  void record(trace::Tier tier) {
    std::unique_ptr<trace::TraceWriter>& writer = writers_[tier];
    if (!writer) writer = made_writer(tier);
    runtime::TokenizedPrompt prompt = prompt_;
    prompt.id += std::to_string(recorded_++);
    runtime::RecordOptions options;
    options.tier = tier;
    runtime::record_prompt(model_, prompt, options, *writer, [](double) {});
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
  std::unique_ptr<trace::TraceWriter> made_writer(trace::Tier tier) const {
    const trace::WriterOptions options{.path = directory_ / fmt::format("{}.h5", trace::tier_name(tier)),
                                       .force = true};
    auto writer = std::make_unique<trace::TraceWriter>(options, info_);
    if (tier == trace::Tier::kFull) {
      for (Index layer = 0; layer < info_.layers; ++layer) {
        writer->write_output_weight(layer, model_.output_weight(layer));
      }
    }
    return writer;
  }

  Index length() const { return static_cast<Index>(prompt_.tokens.size() + prompt_.future.size()); }

  runtime::Transformer model_;
  trace::ModelInfo info_;
  runtime::TokenizedPrompt prompt_;
  std::filesystem::path directory_ = fmt::format("/dev/shm/evictlab-bench-{}", getpid());
  std::map<trace::Tier, std::unique_ptr<trace::TraceWriter>> writers_;
  int recorded_ = 0;
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
  Bench bench(argv[1], std::atol(argv[2]));
  std::map<std::string, std::vector<double>> taken;
  bench.forward();  // maps the weights
  for (const trace::Tier tier : {trace::Tier::kSummary, trace::Tier::kFull}) bench.record(tier);
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
