#include "trace/io/reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <span>
#include <tuple>
#include <utility>

#include "core/hash.hpp"
#include "trace/io/parts_directory.hpp"
#include "trace/io/trace_file.hpp"
#include "trace/values.hpp"

namespace evictlab::trace {

namespace fs = std::filesystem;

namespace {

/// Throws TraceError unless a field's bytes are those that were written, and its values what they can be. One pass over
/// the elements does both, which may lie in a file that has not been read yet.
void require_sound(const TraceFile& file, const std::string& object, Field field, const Tensor& tensor,
                   const LayerShape& shape) {
  core::ContentHash hash;
  const std::string problem =
      value_problem(field, tensor, shape, {.visit = [&](std::span<const std::byte> bytes) { hash.add(bytes); }});
  layout::require_hash(file.file(), object, hash.text());
  if (!problem.empty()) fail(file.file(), object, problem);
}

}  // namespace

struct TraceReader::Impl {
  struct Recorded {
    PromptInfo info;
    Index index = 0;
    fs::path part;  // empty: in the one file
  };

  // Parts are opened when they are read: there may be more of them than a process may hold open.
  std::unique_ptr<TraceFile> whole;  // the one file, or the directory's model.h5
  std::vector<Recorded> recorded;
  std::vector<PromptInfo> infos;

  explicit Impl(const fs::path& path) try {
    if (fs::is_directory(path)) {
      open_parts(path);
    } else {
      if (!fs::exists(path) && fs::is_directory(parts_directory(path))) {
        throw TraceError("{}: no such file, but {} holds a recording that is running or was stopped: give that",
                         path.string(), parts_directory(path).string());
      }
      whole = std::make_unique<TraceFile>(path);
      for (const TraceFile::Entry& entry : whole->prompts()) recorded.push_back({entry.info, entry.index, {}});
    }
    std::ranges::sort(recorded, {}, [](const Recorded& prompt) { return std::tie(prompt.index, prompt.info.id); });
    for (const Recorded& prompt : recorded) infos.push_back(prompt.info);
  } catch (const fs::filesystem_error& error) {
    throw TraceError("{}: {}", path.string(), error.code().message());
  }

  void open_parts(const fs::path& directory) {
    const fs::path model_path = directory / kModelPart;
    if (!fs::exists(model_path)) {
      throw TraceError("{}: not a trace: a directory of parts holds {}", directory.string(), kModelPart);
    }
    whole = std::make_unique<TraceFile>(model_path);
    std::map<std::string, fs::path> seen;
    for (const fs::path& part : list_parts(directory)) {
      const TraceFile file(part);
      if (const std::string difference = layout::model_difference(whole->model(), file.model()); !difference.empty()) {
        throw TraceError("{}: recorded with another model than {}: {}", part.string(), model_path.string(), difference);
      }
      for (const TraceFile::Entry& entry : file.prompts()) {
        if (const auto [other, fresh] = seen.emplace(entry.info.id, part); !fresh) {
          throw TraceError("{}: prompt '{}' is also in {}", part.string(), entry.info.id, other->second.string());
        }
        recorded.push_back({entry.info, entry.index, part});
      }
    }
  }

  const Recorded& prompt(Index number) const { return recorded.at(static_cast<std::size_t>(number)); }

  // Calls `read` with the file that holds a prompt.
  template <typename Read>
  auto with_file_of(const Recorded& prompt, const Read& read) const {
    return prompt.part.empty() ? read(*whole) : read(TraceFile(prompt.part));
  }
};

TraceReader::TraceReader(const fs::path& path) : impl_(std::make_unique<Impl>(path)) {}
TraceReader::~TraceReader() = default;

const ModelInfo& TraceReader::model() const { return impl_->whole->model(); }
const std::vector<PromptInfo>& TraceReader::prompts() const { return impl_->infos; }
const TraceReader::Provenance& TraceReader::provenance() const { return impl_->whole->provenance(); }

std::vector<std::int32_t> TraceReader::tokens(Index prompt) const {
  const Impl::Recorded& recorded = impl_->prompt(prompt);
  return impl_->with_file_of(recorded, [&](const TraceFile& file) { return file.tokens(recorded.info); });
}

LayerData TraceReader::layer(Index prompt, Index layer, Fields fields) const {
  const Impl::Recorded& recorded = impl_->prompt(prompt);
  const PromptInfo& info = recorded.info;
  if (!std::ranges::binary_search(info.layers, layer)) {
    throw TraceError("prompt '{}': layer {} was not recorded", info.id, layer);
  }
  for (const Field field : kAllFields) {
    if (fields.contains(field) && !info.recorded().contains(field)) {
      throw TraceError("prompt '{}': {} was not recorded: its tier is {}{}", info.id, field_name(field),
                       tier_name(info.tier), info.missing.contains(field) ? ", recorded without it" : "");
    }
  }
  return impl_->with_file_of(recorded, [&](const TraceFile& file) {
    file.check_layer(info, layer);
    LayerData data;
    data.shape = layer_shape(file.model(), info, layer);
    for (const Field field : kAllFields) {
      if (!fields.contains(field)) continue;
      data[field] = file.field(info, layer, field);
      require_sound(file, layout::field_path(info.id, layer, field), field, std::as_const(data)[field], data.shape);
    }
    if (fields.contains(Field::kQueryMean) || fields.contains(Field::kQueryCovariance)) {
      data.query_count = file.query_count(info, layer);
    }
    return data;
  });
}

RowMatrix TraceReader::output_weight(Index layer) const {
  if (layer < 0 || layer >= model().layers || !impl_->whole->has_output_weight(layer)) {
    throw TraceError("{}: the output weight of layer {} was not recorded", impl_->whole->file().path().string(), layer);
  }
  RowMatrix weight = impl_->whole->output_weight(layer);
  const std::string object = layout::output_weight_path(layer);
  const hdf5::File& file = impl_->whole->file();
  const auto bytes = std::as_bytes(std::span(weight.data(), static_cast<std::size_t>(weight.size())));
  layout::require_hash(file, object, core::content_hash(bytes));
  if (const std::string problem = output_weight_problem(weight); !problem.empty()) fail(file, object, problem);
  return weight;
}

std::vector<TraceReader::DatasetInfo> TraceReader::datasets() const {
  std::vector<DatasetInfo> found;
  const auto add = [&found](const hdf5::File& file, const std::string& object) {
    const hdf5::Dataset set = file.dataset(object);
    found.push_back({.path = object,
                     .shape = fmt::format("{}", set.shape),
                     .type = std::string(hdf5::type_name(set.type)),
                     .axes = file.text(object, "axes"),
                     .unit = file.text(object, "unit"),
                     .bytes = set.stored_bytes});
  };
  for (Index layer = 0; layer < model().layers; ++layer) {
    if (impl_->whole->has_output_weight(layer)) add(impl_->whole->file(), layout::output_weight_path(layer));
  }
  for (const Impl::Recorded& prompt : impl_->recorded) {
    impl_->with_file_of(prompt, [&](const TraceFile& trace) {
      const std::string group = layout::prompt_path(prompt.info.id);
      add(trace.file(), group + "/tokens");
      add(trace.file(), group + "/spans");
      for (const Index layer : prompt.info.layers) {
        for (const Field field : kAllFields) {
          if (prompt.info.recorded().contains(field)) {
            add(trace.file(), layout::field_path(prompt.info.id, layer, field));
          }
        }
      }
    });
  }
  return found;
}

}  // namespace evictlab::trace
