#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "cli/common_options.hpp"
#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "core/progress.hpp"
#include "core/text.hpp"
#include "trace/io/writer.hpp"
#include "trace/synthetic.hpp"

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

void declare(Options& options) {
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
  trace::check(synthetic);
  return synthetic;
}

/// Writes layer by layer: a long prompt's layers need not fit in memory together.
void write_prompt(const trace::SyntheticOptions& synthetic, trace::Index number, trace::TraceWriter& writer,
                  core::Progress& progress) {
  const trace::PromptInfo info = trace::synthetic_prompt_info(synthetic, number);
  trace::PromptWriter prompt = writer.begin_prompt(info, trace::synthetic_tokens(synthetic, number));
  for (const trace::Index layer : info.layers) {
    core::throw_if_interrupted();
    prompt.write(trace::synthetic_layer(synthetic, number, layer));
    progress.advance(1);
  }
  prompt.finish();
}

/// Returns how many prompts the writer has then; stops early at Ctrl-C.
trace::Index write_prompts(const trace::SyntheticOptions& synthetic, trace::TraceWriter& writer) {
  const auto layers = static_cast<double>(synthetic.layers);
  core::Progress progress("synth", static_cast<double>(synthetic.prompts) * layers, "layers");
  trace::Index made = 0;
  try {
    for (; made < synthetic.prompts; ++made) {
      // A killed run of the same options may have left finished prompts.
      if (writer.contains(trace::synthetic_prompt_id(made))) {
        progress.advance(layers);
      } else {
        write_prompt(synthetic, made, writer, progress);
      }
    }
  } catch (const core::Interrupted&) {  // what is finished is kept
  }
  return made;
}

}  // namespace

int run_synth(const Arguments& arguments) {
  Options options("synth", "--out FILE [option ...]",
                  "Makes a trace from a seed alone, with attention patterns whose answers are known in closed form: "
                  "test data, and input of any size for timing.");
  declare(options);
  if (!options.parse(arguments)) return 0;
  const trace::SyntheticOptions synthetic = synthetic_options(options);
  use_threads(options);

  trace::WriterOptions writing;
  writing.path = options.path("out");
  writing.force = options.has("force");
  writing.command = command_line();
  trace::TraceWriter writer(std::move(writing), trace::synthetic_model(synthetic));
  if (synthetic.tier == trace::Tier::kFull) {
    for (trace::Index layer = 0; layer < synthetic.layers; ++layer) {
      writer.write_output_weight(layer, trace::synthetic_output_weight(synthetic, layer));
    }
  }

  const trace::Index made = write_prompts(synthetic, writer);
  if (made == 0) throw core::Interrupted();
  const std::filesystem::path path = writer.finish();
  std::cerr << fmt::format("{}: {} of {} synthetic prompts, {} + {} positions each\n", path.string(), made,
                           synthetic.prompts, synthetic.length, synthetic.future);
  return made == synthetic.prompts ? 0 : 130;
}

}  // namespace evictlab::cli
