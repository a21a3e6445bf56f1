#include "lab/synth.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "cli/common_options.hpp"
#include "cli/console.hpp"
#include "core/error.hpp"
#include "core/text.hpp"

namespace evictlab::cli {
namespace {

using trace::HeadKind;

std::vector<HeadKind> parse_kinds(const std::string& text) {
  using enum HeadKind;
  constexpr HeadKind kKinds[] = {kUniform, kSink, kLocal, kHeavyHitter, kRetrieval, kDrift};
  std::vector<std::string> names;
  for (const HeadKind kind : kKinds) names.emplace_back(trace::head_kind_name(kind));
  std::vector<HeadKind> kinds;
  for (const std::string& name : core::split(text, ',')) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      throw core::InputError("synth: --heads knows no kind '{}'{}", name, core::suggestion(name, names));
    }
    kinds.push_back(kKinds[found - names.begin()]);
  }
  return kinds;
}

void declare_synth(Options& options) {
  options.value("out", "FILE", "", "the trace to make");
  options.value("seed", "N", "1", "the same seed and options give the same trace");
  options.value("prompts", "N", "4", "how many prompts");
  options.value("layers", "N", "6", "layers");
  options.value("query-heads", "N", "4", "query heads per layer");
  options.value("kv-heads", "N", "2", "kv heads per layer; must divide the query heads");
  options.value("head-dim", "N", "16", "head dimension, 8 or more");
  options.value("hidden-size", "N", "0",
                "columns of the output weight: what output norms cost; 0 = query heads * head "
                "dimension");
  options.value("length", "N", "256", "prompt positions, 16 or more");
  options.value("future", "N", "32", "future positions");
  options.value("window", "N", "32", "observation window: prompt queries recorded");
  options.value("sliding-window", "N", "0", "of every second layer; 0 = every layer sees every position");
  options.value("heads", "KIND,...", "",
                "what the heads look at, in turn: uniform, sink, local, heavy-hitter, retrieval, drift; "
                "without it a mixture over the layers as in trained models");
  declare_tier_and_dtype(options, "full", "float32");
  declare_threads(options);
  options.flag("force", "replace an existing trace");
}

trace::SyntheticOptions synthetic_options(const Options& options) {
  trace::SyntheticOptions synthetic;
  synthetic.seed = static_cast<std::uint64_t>(options.integer("seed", 0));
  synthetic.prompts = options.integer("prompts", 1);
  synthetic.layers = options.integer("layers", 1);
  synthetic.query_heads = options.integer("query-heads", 1);
  synthetic.kv_heads = options.integer("kv-heads", 1);
  synthetic.head_dim = options.integer("head-dim", 8);
  synthetic.hidden_size = options.integer("hidden-size", 0);
  synthetic.length = options.integer("length", 16);
  synthetic.future = options.integer("future", 1);
  synthetic.window = options.integer("window", 1);
  synthetic.sliding_window = options.integer("sliding-window", 0);
  synthetic.heavy_hitters = std::min(synthetic.heavy_hitters, synthetic.length / 2);
  synthetic.tier = tier_of(options);
  synthetic.element_type = dtype_of(options);
  if (const auto heads = options.optional_text("heads")) synthetic.kinds = parse_kinds(*heads);
  return synthetic;
}

}  // namespace

int run_synth(const Arguments& arguments) {
  Options options("synth", "--out FILE [option ...]",
                  "Makes a trace from a seed alone, with attention patterns whose answers are known in closed form: "
                  "test data, and input of any size for timing.");
  declare_synth(options);
  if (!options.parse(arguments)) return 0;
  const trace::SyntheticOptions synthetic = synthetic_options(options);
  use_threads(options);
  const lab::SynthOutcome outcome = on_console([&](Console& console) {
    return lab::synth({synthetic, options.path("out"), options.has("force"), command_line()}, console);
  });
  std::cerr << fmt::format("{}: {} synthetic prompts, {} + {} positions each\n", outcome.trace.string(),
                           outcome.prompts, synthetic.length, synthetic.future);
  return 0;
}

}  // namespace evictlab::cli
