#include "trace/io/verify.hpp"

#include <fmt/format.h>

#include <map>

#include "core/hash.hpp"
#include "trace/io/parts_directory.hpp"
#include "trace/io/reader.hpp"
#include "trace/io/trace_file.hpp"
#include "trace/values.hpp"

namespace evictlab::trace {
namespace {

namespace fs = std::filesystem;

// Collects what is wrong with one file of a trace.
class Verifier {
 public:
  Verifier(const TraceFile& trace, std::vector<std::string>& problems) : trace_(trace), problems_(problems) {}

  void verify() {
    for (const std::string& id : trace_.incomplete()) add(layout::prompt_path(id), "is not complete");
    for (Index layer = 0; layer < trace_.model().layers; ++layer) {
      if (trace_.has_output_weight(layer)) check_output_weight(layer);
    }
    for (const TraceFile::Entry& prompt : trace_.prompts()) check_prompt(prompt.info);
  }

 private:
  void add(const std::string& object, const std::string& problem) {
    problems_.push_back(fmt::format("{}: {}: {}", trace_.file().path().string(), object, problem));
  }

  void add_if_any(const std::string& object, const std::string& problem) {
    if (!problem.empty()) add(object, problem);
  }

  // Runs a check whose reading may find damage of its own.
  template <typename Check>
  void guarded(const Check& check) {
    try {
      check();
    } catch (const core::InputError& error) {
      problems_.push_back(error.what());
    }
  }

  // False when the bytes are damaged: then their meaning need not be looked at.
  bool check_description(const std::string& object, std::span<const std::byte> bytes, std::string_view axes,
                         std::string_view unit) {
    const hdf5::File& file = trace_.file();
    if (file.text(object, "axes") != axes) add(object, fmt::format("its axes are not \"{}\"", axes));
    if (file.text(object, "unit") != unit) add(object, fmt::format("its unit is not \"{}\"", unit));
    const std::string stored = file.text(object, "hash");
    const std::string computed = core::content_hash(bytes);
    if (stored != computed) add(object, fmt::format("damaged: its hash is {}, recorded was {}", computed, stored));
    return stored == computed;
  }

  void check_output_weight(Index layer) {
    guarded([&] {
      const RowMatrix weight = trace_.output_weight(layer);
      const std::string object = layout::output_weight_path(layer);
      const auto bytes = std::as_bytes(std::span(weight.data(), static_cast<std::size_t>(weight.size())));
      if (!check_description(object, bytes, "query_head * head_dimension, hidden", "weight")) return;
      add_if_any(object, output_weight_problem(weight));
    });
  }

  void check_prompt(const PromptInfo& prompt) {
    const std::string group = layout::prompt_path(prompt.id);
    guarded([&] {
      const std::vector<std::int32_t> tokens = trace_.tokens(prompt);
      check_description(group + "/tokens", std::as_bytes(std::span(tokens)), "position", "token id");
    });
    // The spans' ranges were checked when the prompt was read.
    guarded(
        [&] { check_description(group + "/spans", trace_.file().read_bytes(group + "/spans"), "span", "position"); });
    for (const Index layer : prompt.layers) {
      guarded([&] { trace_.check_layer(prompt, layer); });
      for (const Field field : kAllFields) {
        if (prompt.recorded().contains(field)) check_field(prompt, layer, field);
      }
    }
  }

  void check_field(const PromptInfo& prompt, Index layer, Field field) {
    guarded([&] {
      const Tensor tensor = trace_.field(prompt, layer, field);
      const std::string object = layout::field_path(prompt.id, layer, field);
      const FieldInfo& info = field_info(field);
      if (!check_description(object, tensor.bytes(), info.axes, info.unit)) return;
      add_if_any(object, value_problem(field, tensor, layer_shape(trace_.model(), prompt, layer)));
      if (field == Field::kQueryMean) trace_.query_count(prompt, layer);
    });
  }

  const TraceFile& trace_;
  std::vector<std::string>& problems_;
};

// Full-tier prompts need the output weights of their layers, which a part does not hold.
void require_output_weights(const TraceFile& weights, const std::vector<PromptInfo>& prompts,
                            std::vector<std::string>& problems) {
  std::map<Index, std::string> needed_by;
  for (const PromptInfo& prompt : prompts) {
    if (prompt.tier != Tier::kFull) continue;
    for (const Index layer : prompt.layers) needed_by.emplace(layer, prompt.id);
  }
  for (const auto& [layer, id] : needed_by) {
    if (!weights.has_output_weight(layer)) {
      problems.push_back(fmt::format("{}: {}: is missing, but prompt '{}' is of the full tier",
                                     weights.file().path().string(), layout::output_weight_path(layer), id));
    }
  }
}

}  // namespace

std::vector<std::string> verify_trace(const fs::path& path) {
  std::vector<std::string> problems;
  try {
    const TraceReader reader(path);  // what holds between files: one model, no id twice
    std::vector<fs::path> files{path};
    if (fs::is_directory(path)) {
      files = list_parts(path);
      files.insert(files.begin(), path / kModelPart);
    }
    for (const fs::path& file : files) Verifier(TraceFile(file), problems).verify();
    require_output_weights(TraceFile(files.front()), reader.prompts(), problems);
  } catch (const core::InputError& error) {
    problems.push_back(error.what());
  }
  return problems;
}

}  // namespace evictlab::trace
