// What checking a trace costs a replay: the same replay from the same file, with every digest, hash and value checked
// as the program does, and with none. Both alternate in one run, and the ratio of their medians is printed.
// EVICTLAB_BENCH_TRACE names another trace than the one made for the purpose, EVICTLAB_BENCH_ROUNDS the repetitions.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <string>
#include <vector>

#include "core/memory.hpp"
#include "core/parallel.hpp"
#include "made_trace.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/replay.hpp"
#include "trace/io/reader.hpp"
#include "trace/io/trace_file.hpp"

namespace {

namespace core = evictlab::core;
namespace fs = std::filesystem;
namespace sim = evictlab::sim;
namespace trace = evictlab::trace;
using evictlab::bench::from_environment;
using trace::Index;

/// Reads arrays of a trace file as they are.
class Unchecked final : public trace::Source {
 public:
  explicit Unchecked(const fs::path& path) : file_(path) {
    for (const auto& entry : file_.prompts()) infos_.push_back(entry.info);
  }
  const trace::ModelInfo& model() const override { return file_.model(); }
  const std::vector<trace::PromptInfo>& prompts() const override { return infos_; }
  std::vector<std::int32_t> tokens(Index prompt) const override { return file_.tokens(info(prompt)); }
  trace::LayerData layer(Index prompt, Index layer, trace::Fields fields) const override {
    trace::LayerData data;
    data.shape = trace::layer_shape(file_.model(), info(prompt), layer);
    for (const trace::Field field : trace::kAllFields) {
      if (fields.contains(field)) data[field] = file_.field(info(prompt), layer, field);
    }
    if (fields.contains(trace::Field::kQueryMean)) data.query_count = file_.query_count(info(prompt), layer);
    return data;
  }
  trace::RowMatrix output_weight(Index layer) const override { return file_.output_weight(layer); }

 private:
  const trace::PromptInfo& info(Index prompt) const { return infos_.at(static_cast<std::size_t>(prompt)); }
  trace::TraceFile file_;
  std::vector<trace::PromptInfo> infos_;
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// The times of one way to do it.
struct Times {
  std::vector<double> wall;       // ms
  std::vector<double> processor;  // ms, all threads together: on a busy machine the steadier one

  template <typename Work>
  void add(const Work& work) {
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t start_processor = std::clock();
    work();
    processor.push_back(1e3 * static_cast<double>(std::clock() - start_processor) / CLOCKS_PER_SEC);
    wall.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
};

/// Does the same with two sources, in turn, and prints both times and what the first takes of the second.
template <typename Work>
void compare_sources(const fs::path& path, const std::string& what, const Work& work) {
  const trace::TraceReader checked(path);
  const Unchecked unchecked(path);
  Times with;
  Times without;
  for (Index i = 0; i < from_environment("EVICTLAB_BENCH_ROUNDS", 11); ++i) {
    without.add([&] { work(unchecked); });
    with.add([&] { work(checked); });
  }
  const auto print = [&](const char* clock, const std::vector<double>& a, const std::vector<double>& b) {
    fmt::print("{:<40} {:<9} {:8.1f} ms checked, {:8.1f} ms unchecked, ratio {:.3f}\n", what, clock, median(a),
               median(b), median(a) / median(b));
  };
  print("wall", with.wall, without.wall);
  print("processor", with.processor, without.processor);
}

void compare_replays(const fs::path& path, const char* what, const char* policies, const char* budgets,
                     std::size_t threads) {
  core::set_threads(threads);
  const std::vector<sim::Policy> made = sim::make_policies(policies);
  const std::vector<sim::Budget> all = sim::parse_budgets(budgets);
  compare_sources(path, fmt::format("{}, {} threads", what, threads),
                  [&](const trace::Source& source) { sim::replay(source, made, all, {}); });
}

void read_all(const trace::Source& source) {
  for (const Index layer : source.prompts().front().layers) source.layer(0, layer, trace::kSummaryFields);
}

}  // namespace

int main() {
  core::keep_freed_memory();
  std::optional<evictlab::bench::MadeTrace> made;
  fs::path path;
  if (const char* given = std::getenv("EVICTLAB_BENCH_TRACE")) {
    path = given;
  } else {
    path = made.emplace().path();
  }
  compare_sources(path, "reading alone", read_all);
  for (const std::size_t threads : {1U, 2U}) {
    compare_replays(path, "one policy, one budget", "snapkv", "1024", threads);
    compare_replays(path, "eight policies, four budgets", "h2o,tova,snapkv,pyramidkv,ada-snapkv,dynamickv,cake,oracle",
                    "256,512,1024,2048", threads);
  }
}
