#include "trace/io/prompt_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "core/file.hpp"
#include "trace/io/digest.hpp"
#include "trace/io/hdf5/ranges.hpp"
#include "trace/io/layout.hpp"
#include "trace/values.hpp"

namespace evictlab::trace {

namespace fs = std::filesystem;

namespace {

// Whether the shape depends on T.
bool covers_future(Field field) {
  const LayerShape without{.prompt_length = 1, .window = 1};
  LayerShape with = without;
  with.future_length = 1;
  const FieldShape a = field_shape(field, without);
  const FieldShape b = field_shape(field, with);
  return a.rows != b.rows || a.columns != b.columns;
}

}  // namespace

PromptWriter::Impl::Impl(const fs::path& part_path, const std::string& command, const Settings& settings,
                         ModelInfo the_model, PromptInfo the_info, std::vector<std::int32_t> the_tokens,
                         Index the_index, WrittenPrompts& the_written)
    : part(part_path),
      temporary(part_path.string() + ".tmp"),
      model(std::move(the_model)),
      info(std::move(the_info)),
      tokens(std::move(the_tokens)),
      index(the_index),
      written(the_written),
      file(hdf5::File::create(temporary)) {
  layout::write_root(file, command, model, settings);
  written.writing = true;
}

PromptWriter::Impl::~Impl() {
  written.writing = false;
  if (finished) return;
  std::error_code ignored;
  fs::remove(temporary, ignored);
}

void PromptWriter::Impl::set_future(std::span<const std::int32_t> future) {
  if (info.future_length != 0) throw std::logic_error("the future of a prompt is told once");
  for (const auto& [layer, field] : fields) {
    if (covers_future(field)) throw TraceError("{}: written before the future was known", name_of(layer, field));
  }
  if (std::ranges::any_of(future, [](std::int32_t token) { return token < 0; })) {
    throw TraceError("prompt '{}': a token id is negative", info.id);
  }
  tokens.insert(tokens.end(), future.begin(), future.end());
  info.future_length = static_cast<Index>(future.size());
}

void PromptWriter::Impl::write_description() {
  layout::check_prompt(info, model, fmt::format("prompt '{}'", info.id));
  const std::string group = layout::prompt_path(info.id);
  layout::write_prompt(file, info, index);
  const std::uint64_t count = tokens.size();
  layout::write_dataset(file, group + "/tokens", hdf5::Type::kInt32, {&count, 1}, std::as_bytes(std::span(tokens)),
                        "position", "token id");
  std::vector<hdf5::NamedRange> ranges;
  for (const Span& span : info.spans) ranges.push_back({span.name, span.begin, span.end});
  const std::vector<std::byte> rows = hdf5::write_ranges(file, group + "/spans", ranges);
  layout::describe_dataset(file, group + "/spans", rows, "span", "position");
}

std::string PromptWriter::Impl::name_of(Index layer, Field field) const {
  return fmt::format("prompt '{}' layer {}: {}", info.id, layer, field_name(field));
}

void PromptWriter::Impl::write(Index layer, Field field, const Tensor& tensor) {
  const std::string name = name_of(layer, field);
  if (!std::ranges::binary_search(info.layers, layer)) throw TraceError("{}: not one of the prompt's layers", name);
  if (!info.recorded().contains(field)) {
    throw TraceError("{}: not part of the {} tier{}", name, tier_name(info.tier),
                     info.missing.contains(field) ? " without what is missing" : "");
  }
  if (fields.contains({layer, field})) throw TraceError("{}: written twice", name);
  const LayerShape sizes = layer_shape(model, info, layer);
  const FieldShape shape = field_shape(field, sizes);
  if (tensor.heads() != shape.heads || tensor.rows() != shape.rows || tensor.columns() != shape.columns) {
    throw TraceError("{}: shape [{}, {}, {}], expected [{}, {}, {}]", name, tensor.heads(), tensor.rows(),
                     tensor.columns(), shape.heads, shape.rows, shape.columns);
  }
  if (!allows(field, tensor.element_type())) {
    throw TraceError("{}: must be {}", name, elements_name(field_info(field).elements));
  }
  if (!allows_scale(field, double{tensor.scale()})) {
    throw TraceError("{}: scale {}, must be {}", name, tensor.scale(), scales_text(field));
  }
  if (const std::string problem = value_problem(field, tensor, sizes); !problem.empty()) {
    throw TraceError("{}: {}", name, problem);
  }
  const auto size = [](Index value) { return static_cast<std::uint64_t>(value); };
  std::vector<std::uint64_t> extent{size(shape.heads), size(shape.rows), size(shape.columns)};
  if (shape.two_dimensional) extent.erase(extent.begin() + 1);
  const std::string object = layout::field_path(info.id, layer, field);
  const bool half = tensor.element_type() == ElementType::kFloat16;
  layout::write_dataset(file, object, half ? hdf5::Type::kFloat16 : hdf5::Type::kFloat32, extent, tensor.bytes(),
                        field_info(field).axes, field_info(field).unit);
  if (is_scaled(field)) file.set_number(object, "scale", static_cast<double>(tensor.scale()));
  fields.emplace(layer, field);
}

void PromptWriter::Impl::finish() {
  if (finished) throw std::logic_error("a prompt is finished twice");
  for (const Index layer : info.layers) {
    for (const Field field : kAllFields) {
      if (info.recorded().contains(field) && !fields.contains({layer, field})) {
        throw TraceError("{}: not written", name_of(layer, field));
      }
    }
    if (info.tier == Tier::kFull) {
      const auto count = query_counts.find(layer);
      if (count == query_counts.end()) {
        throw TraceError("prompt '{}' layer {}: the count of queries is not set", info.id, layer);
      }
      for (const Field field : {Field::kQueryMean, Field::kQueryCovariance}) {
        file.set_integer(layout::field_path(info.id, layer, field), "count", count->second);
      }
    }
  }
  write_description();
  file.set_integer(layout::prompt_path(info.id), "complete", 1);
  seal_groups(file, "/");
  file.close();
  core::sync_path(temporary);
  core::rename_durably(temporary, part);
  finished = true;
  written.by_id[info.id] = {info, tokens, part};
  written.writing = false;
}

PromptWriter::PromptWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PromptWriter::PromptWriter(PromptWriter&&) noexcept = default;
PromptWriter::~PromptWriter() = default;

void PromptWriter::write(Index layer, Field field, const Tensor& tensor) { impl_->write(layer, field, tensor); }

void PromptWriter::write(const LayerData& layer) {
  for (const Field field : kAllFields) {
    if (impl_->info.recorded().contains(field)) write(layer.shape.layer, field, layer[field]);
  }
  if (impl_->info.tier == Tier::kFull) set_query_count(layer.shape.layer, layer.query_count);
}

void PromptWriter::set_future(std::span<const std::int32_t> tokens) { impl_->set_future(tokens); }

void PromptWriter::set_query_count(Index layer, Index count) {
  if (count < 0 || count > impl_->info.prompt_length) {
    throw TraceError("prompt '{}' layer {}: count of queries {}, must be 0 to {}", impl_->info.id, layer, count,
                     impl_->info.prompt_length);
  }
  impl_->query_counts[layer] = count;
}

void PromptWriter::finish() { impl_->finish(); }

}  // namespace evictlab::trace
