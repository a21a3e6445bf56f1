#include "lab/import.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "lab/inputs.hpp"
#include "lab/unfinished.hpp"
#include "trace/imports/attention_arrays.hpp"
#include "trace/imports/imported_layer.hpp"
#include "trace/io/writer.hpp"

namespace evictlab::lab {
namespace {

using trace::Index;

trace::ModelInfo imported_model(const ImportOptions& options, const trace::AttentionArrays& arrays) {
  trace::ModelInfo model;
  model.name = options.model;
  model.architecture = "imported";
  model.layers = arrays.layers();
  model.query_heads = arrays.query_heads();
  model.kv_heads = options.kv_heads.value_or(model.query_heads);
  if (model.query_heads % model.kv_heads != 0) {
    throw core::InputError("import: --kv-heads {}: {} query heads cannot share them evenly", model.kv_heads,
                           model.query_heads);
  }
  model.head_dim = options.head_dim;
  model.hidden_size = model.query_heads * model.head_dim;
  model.attention_scale = 1.0 / std::sqrt(static_cast<double>(model.head_dim));
  model.sliding_windows.assign(static_cast<std::size_t>(model.layers), 0);
  model.position_encoding = "unknown";
  model.fingerprint = "unknown";
  return model;
}

/// n, from --prompt-length or --future.
Index imported_length(const ImportOptions& options, const trace::AttentionArrays& arrays, const std::string& file) {
  if (options.prompt_length.has_value() == options.future.has_value()) {
    throw core::InputError("import: give --prompt-length or --future: which of the queries are the future");
  }
  const Index positions = arrays.positions();
  const Index length = options.prompt_length ? *options.prompt_length : positions - *options.future;
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

trace::PromptInfo imported_prompt(const ImportOptions& options, const trace::AttentionArrays& arrays,
                                  const std::filesystem::path& file) {
  trace::PromptInfo info;
  info.id = file.stem().string();
  info.task = options.task;
  info.source = file.string();
  info.prompt_length = imported_length(options, arrays, file.string());
  info.future_length = arrays.positions() - info.prompt_length;
  info.future_kind = "teacher-forced";
  info.tier = trace::Tier::kSummary;
  info.window = std::min<Index>(options.window, arrays.rows() - info.future_length);
  for (Index layer = 0; layer < arrays.layers(); ++layer) info.layers.push_back(layer);
  if (arrays.rows() < arrays.positions()) info.missing |= trace::Field::kAttentionMass;
  if (arrays.output_norms(0).empty()) info.missing |= trace::Field::kOutputNorms;
  return info;
}

/// Unknown tokens are 0.
std::vector<std::int32_t> imported_tokens(const trace::AttentionArrays& arrays) {
  std::vector<std::int32_t> tokens = arrays.tokens();
  tokens.resize(static_cast<std::size_t>(arrays.positions()));
  return tokens;
}

trace::LayerData layer_of_arrays(const trace::AttentionArrays& arrays, const trace::ModelInfo& model,
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
  trace::AttentionArrays arrays;
  trace::PromptInfo info;
};

/// All files opened and their shapes checked: nothing is written when one cannot be imported.
std::vector<Import> open_imports(const ImportOptions& options) {
  std::vector<Import> imports;
  std::set<std::string> ids;
  for (const std::filesystem::path& file : options.files) {
    trace::AttentionArrays arrays{file};
    trace::PromptInfo info = imported_prompt(options, arrays, file);
    if (!imports.empty()) {
      const trace::AttentionArrays& first = imports.front().arrays;
      if (arrays.layers() != first.layers() || arrays.query_heads() != first.query_heads()) {
        throw core::InputError(
            "{}: {} layers and {} query heads, but {} has {} and {}: prompts of one model belong in "
            "one trace",
            file.string(), arrays.layers(), arrays.query_heads(), imports.front().info.source, first.layers(),
            first.query_heads());
      }
    }
    if (!ids.insert(info.id).second) {
      throw core::InputError("{}: another file has the name '{}', which is the prompt's", file.string(), info.id);
    }
    imports.push_back({std::move(arrays), std::move(info)});
  }
  return imports;
}

/// Progress over all imports, in layers.
struct ImportProgress {
  Observer& observer;
  double total;
  double done = 0.0;
  Stage stage = {"importing"};
};

void write_import(const Import& import, const trace::ModelInfo& model, trace::TraceWriter& writer,
                  ImportProgress& progress) {
  trace::PromptWriter prompt = writer.begin_prompt(import.info, imported_tokens(import.arrays));
  for (const Index layer : import.info.layers) {
    core::throw_if_interrupted();
    prompt.write(layer_of_arrays(import.arrays, model, import.info, layer));
    progress.observer.progress(progress.stage, ++progress.done, progress.total);
  }
  prompt.finish();
}

/// Whether the writer has it already. Prompts without tokens look alike: the file they came from tells them apart.
bool is_imported(const Import& import, trace::TraceWriter& writer, bool replace) {
  const trace::PromptInfo* const there = writer.find(import.info.id);
  if (there != nullptr && there->source != import.info.source) {
    if (replace) return false;
    throw core::InputError("{}: the trace has a prompt '{}' already, imported from {}; leave the file out or rename it",
                           import.info.source, import.info.id, there->source);
  }
  return writer.contains_alike(import.info, imported_tokens(import.arrays));
}

/// Writes what an earlier run has not left.
void write_missing_imports(const std::vector<const Import*>& missing, std::size_t imports, trace::TraceWriter& writer,
                           const trace::ModelInfo& model, Observer& observer) {
  ImportProgress progress{observer, static_cast<double>(missing.size()) * static_cast<double>(model.layers)};
  std::size_t written = imports - missing.size();
  try {
    for (const Import* import : missing) {
      write_import(*import, model, writer, progress);
      ++written;
    }
  } catch (const core::Interrupted&) {
    throw_unfinished(writer, written, imports);
  }
}

}  // namespace

ImportOutcome import_attention(const ImportOptions& options, Observer& observer) {
  if (options.append && options.force) {
    throw core::InputError("import: --append keeps the trace and --force replaces it; give one of them");
  }
  if (options.files.empty()) throw core::InputError("import: no file with attention to import");
  Inputs().add(options.files).refuse_early(options.out);
  trace::TracePlace place(
      {.path = options.out, .append = options.append, .force = options.force, .command = options.command});
  const std::vector<Import> imports = open_imports(options);
  const trace::ModelInfo model = imported_model(options, imports.front().arrays);
  trace::TraceWriter writer(std::move(place), model, {{"window", std::to_string(options.window)}});
  const auto lacks = [&imports](trace::Field field) {
    return std::ranges::any_of(imports, [&](const Import& import) { return import.info.missing.contains(field); });
  };
  ImportOutcome outcome{.prompts = imports.size(), .trace = {}, .kv_heads = model.kv_heads};
  std::vector<const Import*> missing;
  for (const Import& import : imports) {
    if (!is_imported(import, writer, options.force)) missing.push_back(&import);
  }
  outcome.already = imports.size() - missing.size();
  write_missing_imports(missing, imports.size(), writer, model, observer);
  outcome.assumed_kv_heads = !options.kv_heads && model.query_heads > 1;
  outcome.lacks_attention_mass = lacks(trace::Field::kAttentionMass);
  outcome.lacks_output_norms = lacks(trace::Field::kOutputNorms);
  outcome.trace = writer.finish();
  outcome.others = writer.prompts() - imports.size();
  return outcome;
}

}  // namespace evictlab::lab
