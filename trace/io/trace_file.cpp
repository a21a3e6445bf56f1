#include "trace/io/trace_file.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <tuple>
#include <utility>

#include "core/hash.hpp"
#include "trace/io/digest.hpp"
#include "trace/values.hpp"

namespace evictlab::trace {
namespace {

using Shape = std::vector<std::uint64_t>;

Shape shape_of(const FieldShape& shape) {
  const auto size = [](Index value) { return static_cast<std::uint64_t>(value); };
  if (shape.two_dimensional) return {size(shape.heads), size(shape.columns)};
  return {size(shape.heads), size(shape.rows), size(shape.columns)};
}

void expect_shape(const hdf5::File& file, const std::string& object, const hdf5::Dataset& found,
                  const Shape& expected) {
  if (found.shape != expected) {
    fail(file, object, fmt::format("shape {}, expected {}", found.shape, expected));
  }
}

// Null on file systems that cannot map: then everything is read.
std::shared_ptr<const core::MappedFile> map_if_possible(const std::filesystem::path& path) {
  try {
    return std::make_shared<const core::MappedFile>(path);
  } catch (const core::InputError&) {
    return nullptr;
  }
}

}  // namespace

TraceFile::TraceFile(const std::filesystem::path& path)
    : file_(hdf5::File::open(path)), map_(map_if_possible(path)), provenance_(layout::read_root(file_)) {
  check_groups();
  model_ = layout::read_model(file_);
  if (!file_.exists("/prompts")) return;
  for (const std::string& id : file_.children("/prompts")) {
    const std::string group = layout::prompt_path(id);
    check_group(group);
    if (file_.integer(group, "complete") != 1) {
      incomplete_.push_back(id);
      continue;
    }
    if (has_digests()) require_digest(file_, group + "/layers");
    prompts_.push_back(
        {layout::read_prompt(file_, id, model_, provenance_.format_version), file_.integer(group, "index")});
  }
  std::ranges::sort(prompts_, {}, [](const Entry& entry) { return std::tie(entry.index, entry.info.id); });
}

void TraceFile::check_groups() const {
  check_group("/");
  if (!has_digests()) return;
  for (const char* group : {"/model", "/model/output_weight", "/prompts"}) {
    if (file_.exists(group)) require_digest(file_, group);
  }
}

void TraceFile::check_group(const std::string& group) const {
  if (has_digests()) {
    require_digest(file_, group);
  } else {
    require_texts_hash(file_, group);
  }
}

void TraceFile::check_layer(const PromptInfo& prompt, Index layer) const {
  if (has_digests()) require_digest(file_, layout::layer_path(prompt.id, layer));
}

void TraceFile::check_all_in(const std::string& group) const {
  if (has_digests()) require_digests(file_, group);
}

std::vector<std::int32_t> TraceFile::tokens(const PromptInfo& prompt) const {
  const std::string object = layout::prompt_path(prompt.id) + "/tokens";
  const hdf5::Dataset found = file_.dataset(object);
  if (found.type != hdf5::Type::kInt32) {
    fail(file_, object, fmt::format("type {}, expected int32", hdf5::type_name(found.type)));
  }
  expect_shape(file_, object, found, {static_cast<std::uint64_t>(prompt.prompt_length + prompt.future_length)});
  std::vector<std::int32_t> tokens = file_.read<std::int32_t>(object);
  layout::require_hash(file_, object, core::content_hash(std::as_bytes(std::span(tokens))));
  if (const std::string problem = tokens_problem(tokens); !problem.empty()) fail(file_, object, problem);
  return tokens;
}

std::optional<std::span<const std::byte>> TraceFile::in_place(const hdf5::Dataset& found) const {
  const std::size_t bytes = found.elements * found.element_bytes;
  if (!map_ || !found.offset || bytes == 0) return std::nullopt;
  const std::span<const std::byte> mapped = map_->bytes();
  // The file may have become another between being opened and being mapped.
  if (bytes > mapped.size() || *found.offset > mapped.size() - bytes) return std::nullopt;
  const std::span<const std::byte> part = mapped.subspan(*found.offset, bytes);
  const bool aligned = reinterpret_cast<std::uintptr_t>(part.data()) % found.element_bytes == 0;
  return aligned ? std::optional(part) : std::nullopt;
}

Tensor TraceFile::field(const PromptInfo& prompt, Index layer, Field field) const {
  const std::string object = layout::field_path(prompt.id, layer, field);
  const hdf5::Dataset found = file_.dataset(object);
  const bool half = found.type == hdf5::Type::kFloat16;
  const ElementType type = half ? ElementType::kFloat16 : ElementType::kFloat32;
  if ((!half && found.type != hdf5::Type::kFloat32) || !allows(field, type)) {
    fail(file_, object,
         fmt::format("type {}, expected {}", hdf5::type_name(found.type), elements_name(field_info(field).elements)));
  }
  const FieldShape shape = field_shape(field, layer_shape(model_, prompt, layer));
  expect_shape(file_, object, found, shape_of(shape));
  float scale = 1.0F;
  if (is_scaled(field)) {
    const double stored = file_.number(object, "scale");
    if (!allows_scale(field, stored)) {
      fail(file_, object, fmt::format("scale {}, expected {}", stored, scales_text(field)));
    }
    scale = static_cast<float>(stored);
  }
  if (const auto elements = in_place(found)) {
    // Reading a trace larger than memory must not leave in the process every layer that it went through.
    std::shared_ptr<const void> owner(nullptr, [map = map_, part = *elements](auto) { map->release(part); });
    return {type, *elements, std::move(owner), shape.heads, shape.rows, shape.columns, scale};
  }
  Tensor tensor(type, shape.heads, shape.rows, shape.columns, scale);
  file_.read_bytes(object, tensor.bytes());
  return tensor;
}

Index TraceFile::query_count(const PromptInfo& prompt, Index layer) const {
  const std::string object = layout::field_path(prompt.id, layer, Field::kQueryMean);
  const std::int64_t count = file_.integer(object, "count");
  if (count < 0 || count > prompt.prompt_length) {
    fail(file_, object, fmt::format("count {}, must be 0 to {}", count, prompt.prompt_length));
  }
  return count;
}

bool TraceFile::has_output_weight(Index layer) const { return file_.exists(layout::output_weight_path(layer)); }

RowMatrix TraceFile::output_weight(Index layer) const {
  const std::string object = layout::output_weight_path(layer);
  const hdf5::Dataset found = file_.dataset(object);
  if (found.type != hdf5::Type::kFloat32) {
    fail(file_, object, fmt::format("type {}, expected float32", hdf5::type_name(found.type)));
  }
  const Index rows = model_.query_heads * model_.head_dim;
  expect_shape(file_, object, found,
               {static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(model_.hidden_size)});
  RowMatrix weight(rows, model_.hidden_size);
  file_.read_bytes(object, std::as_writable_bytes(std::span(weight.data(), static_cast<std::size_t>(weight.size()))));
  return weight;
}

}  // namespace evictlab::trace
