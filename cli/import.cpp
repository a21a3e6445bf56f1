#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <set>
#include <string>
#include <vector>

#include "cli/common_options.hpp"
#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "core/progress.hpp"
#include "runtime/attention_arrays.hpp"
#include "trace/imported.hpp"
#include "trace/io/writer.hpp"

namespace evictlab::cli {
namespace {

using trace::Index;

void declare(Options& options) {
  options.positional("attention",
                     "one .npy or .safetensors file per prompt: [L, H, queries, positions], as "
                     "output_attentions gives",
                     Options::Count::kMany);
  options.value("out", "TRACE", "", "the trace to make");
  options.value("prompt-length", "N", "", "positions of the prompt; the queries after it are the future");
  options.value("future", "T", "", "the same the other way round: so many last queries are the future");
  options.value("window", "N", "64", "observation window: prompt queries kept, as far as they are there");
  options.value("kv-heads", "G", "", "kv heads per layer; without it as many as query heads");
  options.value("head-dim", "D", "128", "head dimension: what a slot's bytes are counted from");
  options.value("model", "NAME", "imported", "what the model is called");
  options.value("task", "TASK", "", "the prompts' task");
  options.flag("append", "add to the prompts that the trace holds");
  options.flag("force", "replace an existing trace");
  declare_threads(options);
}

trace::ModelInfo model_of(const Options& options, const runtime::AttentionArrays& arrays) {
  trace::ModelInfo model;
  model.name = options.text("model");
  model.architecture = "imported";
  model.layers = arrays.layers();
  model.query_heads = arrays.query_heads();
  model.kv_heads = options.has("kv-heads") ? options.integer("kv-heads", 1, 65536) : model.query_heads;
  if (model.query_heads % model.kv_heads != 0) {
    throw core::InputError("import: --kv-heads {}: {} query heads cannot share them evenly", model.kv_heads,
                           model.query_heads);
  }
  model.head_dim = options.integer("head-dim", 1, 65536);
  model.hidden_size = model.query_heads * model.head_dim;
  model.attention_scale = 1.0 / std::sqrt(static_cast<double>(model.head_dim));
  model.sliding_windows.assign(static_cast<std::size_t>(model.layers), 0);
  model.position_encoding = "unknown";
  model.fingerprint = "unknown";
  return model;
}

/// n, from --prompt-length or --future.
Index prompt_length(const Options& options, const runtime::AttentionArrays& arrays, const std::string& file) {
  const bool by_length = options.has("prompt-length");
  if (by_length == options.has("future")) {
    throw core::InputError("import: give --prompt-length or --future: which of the queries are the future");
  }
  const Index positions = arrays.positions();
  const Index length = by_length ? options.integer("prompt-length", 1) : positions - options.integer("future", 1);
  if (length < 1 || length >= positions) {
    throw core::InputError("{}: {} positions cannot be a prompt of {} and a future of at least one", file, positions,
                           length);
  }
  if (arrays.rows() <= positions - length) {
    throw core::InputError("{}: holds the last {} queries, all of the future of {}; the prompt's last ones are needed",
                           file, arrays.rows(), positions - length);
  }
  return length;
}

trace::PromptInfo prompt_info(const Options& options, const runtime::AttentionArrays& arrays,
                              const std::filesystem::path& file) {
  trace::PromptInfo info;
  info.id = file.stem().string();
  info.task = options.optional_text("task").value_or("");
  info.source = file.string();
  info.prompt_length = prompt_length(options, arrays, file.string());
  info.future_length = arrays.positions() - info.prompt_length;
  info.future_kind = "teacher-forced";
  info.tier = trace::Tier::kSummary;
  info.window = std::min<Index>(options.integer("window", 1), arrays.rows() - info.future_length);
  for (Index layer = 0; layer < arrays.layers(); ++layer) info.layers.push_back(layer);
  if (arrays.rows() < arrays.positions()) info.missing |= trace::Field::kAttentionMass;
  if (arrays.output_norms(0).empty()) info.missing |= trace::Field::kOutputNorms;
  return info;
}

/// Unknown tokens are 0.
std::vector<std::int32_t> tokens_of(const runtime::AttentionArrays& arrays) {
  std::vector<std::int32_t> tokens = arrays.tokens();
  tokens.resize(static_cast<std::size_t>(arrays.positions()));
  return tokens;
}

trace::LayerData layer_of(const runtime::AttentionArrays& arrays, const trace::ModelInfo& model,
                          const trace::PromptInfo& info, Index layer) {
  const auto read = [&](Index head, Index row, std::span<double> out) { arrays.copy_row(layer, head, row, out); };
  trace::LayerData data = trace::imported_layer(trace::layer_shape(model, info, layer), {arrays.rows(), read},
                                                fmt::format("{}: layer {}", info.source, layer));
  if (const std::vector<float> norms = arrays.output_norms(layer); !norms.empty()) {
    data.output_norms = trace::Tensor(trace::ElementType::kFloat32, model.query_heads, 1, arrays.positions());
    std::ranges::copy(norms, data.output_norms.floats().begin());
  }
  return data;
}

struct Import {
  runtime::AttentionArrays arrays;
  trace::PromptInfo info;
};

/// All files opened and their shapes checked: nothing is written when one cannot be imported.
std::vector<Import> open_all(const Options& options) {
  std::vector<Import> imports;
  std::set<std::string> ids;
  for (const std::string& file : options.list("attention")) {
    runtime::AttentionArrays arrays{std::filesystem::path(file)};
    trace::PromptInfo info = prompt_info(options, arrays, file);
    if (!imports.empty()) {
      const runtime::AttentionArrays& first = imports.front().arrays;
      if (arrays.layers() != first.layers() || arrays.query_heads() != first.query_heads()) {
        throw core::InputError(
            "{}: {} layers and {} query heads, but {} has {} and {}: prompts of one model belong in "
            "one trace",
            file, arrays.layers(), arrays.query_heads(), imports.front().info.source, first.layers(),
            first.query_heads());
      }
    }
    if (!ids.insert(info.id).second) {
      throw core::InputError("{}: another file has the name '{}', which is the prompt's", file, info.id);
    }
    imports.push_back({std::move(arrays), std::move(info)});
  }
  return imports;
}

void write(const Import& import, const trace::ModelInfo& model, trace::TraceWriter& writer, core::Progress& progress) {
  trace::PromptWriter prompt = writer.begin_prompt(import.info, tokens_of(import.arrays));
  for (const Index layer : import.info.layers) {
    core::throw_if_interrupted();
    prompt.write(layer_of(import.arrays, model, import.info, layer));
    progress.advance(1);
  }
  prompt.finish();
}

/// What the trace will not be able to tell.
void say_what_is_missing(const Options& options, const trace::ModelInfo& model, const std::vector<Import>& imports) {
  if (!options.has("kv-heads") && model.query_heads > 1) {
    std::cerr << fmt::format("import: {} kv heads, one per query head; give --kv-heads where heads share keys\n",
                             model.kv_heads);
  }
  const auto lack = [&imports](trace::Field field) {
    return std::ranges::any_of(imports, [&](const Import& import) { return import.info.missing.contains(field); });
  };
  if (lack(trace::Field::kAttentionMass)) {
    std::cerr << "import: not all queries are there, so policies that read attention_mass (h2o) cannot be replayed\n";
  }
  if (lack(trace::Field::kOutputNorms)) {
    std::cerr << "import: without output_norms there are no bounds, and criticalkv cannot be replayed\n";
  }
}

}  // namespace

int run_import(const Arguments& arguments) {
  Options options("import", "ATTENTION ... --out TRACE --prompt-length N|--future T [OPTION ...]",
                  "Makes a trace of attention probabilities that a framework returned, so that policies can be\n"
                  "replayed on them (docs/importing.md).");
  declare(options);
  if (!options.parse(arguments)) return 0;
  if (options.has("append") && options.has("force")) {
    throw core::InputError("import: --append keeps the trace and --force replaces it; give one of them");
  }
  use_threads(options);
  const std::vector<Import> imports = open_all(options);
  const trace::ModelInfo model = model_of(options, imports.front().arrays);
  trace::TraceWriter writer({.path = options.path("out"),
                             .append = options.has("append"),
                             .force = options.has("force"),
                             .command = command_line()},
                            model);
  std::size_t had = 0;
  {
    core::Progress progress("importing", static_cast<double>(imports.size()) * static_cast<double>(model.layers),
                            "layers");
    try {
      for (const Import& import : imports) {
        if (!writer.contains_alike(import.info, tokens_of(import.arrays))) write(import, model, writer, progress);
        ++had;
      }
    } catch (const core::Interrupted&) {
      if (had == 0) throw;  // nothing to keep
    }
  }
  const std::filesystem::path made = writer.finish();
  say_what_is_missing(options, model, imports);
  const bool stopped = had < imports.size();
  std::cerr << fmt::format("{} {} of {} prompts in {}\n", stopped ? "interrupted:" : "imported", had, imports.size(),
                           made.string());
  if (stopped) throw core::Interrupted();
  return 0;
}

}  // namespace evictlab::cli
