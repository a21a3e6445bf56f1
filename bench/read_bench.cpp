// One layer's window attention of a long prompt (32 heads, 32 rows, 32768 positions: 64 MiB of halves) from a file
// in the page cache: copied out of it, as compressed files are, or used in place. Each alone, with its hash checked,
// and followed by the first pass over it (to float, row by row), which pays for pages that were not touched before.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "core/hash.hpp"
#include "trace/io/trace_file.hpp"
#include "trace/io/writer.hpp"

namespace {

using namespace evictlab::trace;
namespace fs = std::filesystem;

constexpr Index kHeads = 32;
constexpr Index kWindow = 32;
constexpr Index kLength = 32768;

/// A trace of one layer, made once and removed at the end.
class SampleFile {
 public:
  SampleFile() : path_(fs::temp_directory_path() / "evictlab_read_bench.h5") {
    ModelInfo model;
    model.name = model.architecture = model.fingerprint = "bench";
    model.layers = 1;
    model.query_heads = model.kv_heads = kHeads;
    model.head_dim = model.hidden_size = 8;
    model.attention_scale = 1.0;
    model.sliding_windows = {0};
    model.position_encoding = "none";
    PromptInfo info;
    info.id = "a";
    info.prompt_length = kLength;
    info.future_length = 1;
    info.future_kind = "generated";
    info.window = kWindow;
    info.layers = {0};
    info.missing = Field::kAttentionMass | Field::kOutputNorms;
    Tensor window(ElementType::kFloat16, kHeads, kWindow, kLength, kWindowAttentionScale);
    std::vector<float> row(kLength);
    for (Index r = 0; r < kWindow; ++r) {
      const Index seen = kLength - kWindow + r + 1;
      std::fill_n(row.begin(), seen, 1.0F / static_cast<float>(seen));
      for (Index head = 0; head < kHeads; ++head) window.set_row(head, r, row);
    }
    Tensor future(ElementType::kFloat32, kHeads, 1, kLength + 1);
    std::ranges::fill(future.floats(), 1.0F / static_cast<float>(kLength + 1));

    WriterOptions options;
    options.path = path_;
    options.force = true;
    TraceWriter writer(options, model);
    PromptWriter prompt = writer.begin_prompt(info, std::vector<std::int32_t>(kLength + 1));
    prompt.write(0, Field::kWindowAttention, window);
    prompt.write(0, Field::kFutureMass, future);
    prompt.finish();
    writer.finish();
  }
  ~SampleFile() { fs::remove(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

const TraceFile& sample() {
  static const SampleFile file;
  static const TraceFile trace(file.path());
  return trace;
}

const PromptInfo& prompt() { return sample().prompts().front().info; }

Tensor copied() {
  Tensor tensor(ElementType::kFloat16, kHeads, kWindow, kLength);
  sample().file().read_bytes(layout::field_path(prompt().id, 0, Field::kWindowAttention), tensor.bytes());
  return tensor;
}

Tensor in_place() { return sample().field(prompt(), 0, Field::kWindowAttention); }

void pass_over(const Tensor& tensor) {
  std::vector<float> row(kLength);
  for (Index head = 0; head < kHeads; ++head) {
    for (Index r = 0; r < kWindow; ++r) tensor.view().copy_row(head, r, row);
  }
  benchmark::DoNotOptimize(row.data());
}

template <Tensor (*Read)(), bool Hash, bool Use>
void read(benchmark::State& state) {
  for (auto _ : state) {
    const Tensor tensor = Read();
    if (Hash) benchmark::DoNotOptimize(core::content_hash(tensor.bytes()));
    if (Use) pass_over(tensor);
    benchmark::DoNotOptimize(tensor.bytes().data());
  }
  state.SetBytesProcessed(state.iterations() * kHeads * kWindow * kLength * 2);
}

BENCHMARK(read<copied, false, false>)->Name("copied")->Unit(benchmark::kMillisecond);
BENCHMARK(read<in_place, false, false>)->Name("in_place")->Unit(benchmark::kMillisecond);
BENCHMARK(read<copied, true, false>)->Name("copied/hash")->Unit(benchmark::kMillisecond);
BENCHMARK(read<in_place, true, false>)->Name("in_place/hash")->Unit(benchmark::kMillisecond);
BENCHMARK(read<copied, false, true>)->Name("copied/use")->Unit(benchmark::kMillisecond);
BENCHMARK(read<in_place, false, true>)->Name("in_place/use")->Unit(benchmark::kMillisecond);
BENCHMARK(read<copied, true, true>)->Name("copied/hash/use")->Unit(benchmark::kMillisecond);
BENCHMARK(read<in_place, true, true>)->Name("in_place/hash/use")->Unit(benchmark::kMillisecond);

}  // namespace
