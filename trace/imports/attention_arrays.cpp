#include "trace/imports/attention_arrays.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <string>

#include "core/half.hpp"
#include "core/safetensors.hpp"
#include "core/text.hpp"
#include "trace/imports/npy.hpp"

namespace evictlab::trace {
namespace {

using Shape = std::vector<std::uint64_t>;

template <typename Stored>
Stored element(const core::StoredTensor& tensor, std::size_t index) {
  Stored value;  // the file's bytes may lie at any alignment
  std::memcpy(&value, tensor.bytes.data() + index * sizeof(Stored), sizeof(Stored));
  return value;
}

bool is_float(const core::StoredTensor& tensor) {
  return tensor.dtype == "F32" || tensor.dtype == "F16" || tensor.dtype == "BF16" || tensor.dtype == "F64";
}

// Elements from `first` on, as many as `out` has room for, of a tensor of floats.
template <typename Number>
void copy_floats(const core::StoredTensor& tensor, std::size_t first, std::span<Number> out) {
  const auto copy = [&](auto number_at) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<Number>(number_at(first + i));
  };
  if (tensor.dtype == "F32") {
    copy([&](std::size_t i) { return element<float>(tensor, i); });
  } else if (tensor.dtype == "F64") {
    copy([&](std::size_t i) { return element<double>(tensor, i); });
  } else if (tensor.dtype == "F16") {
    copy([&](std::size_t i) { return core::to_float(element<core::Half>(tensor, i)); });
  } else {
    copy([&](std::size_t i) { return core::to_float(element<core::BFloat16>(tensor, i)); });
  }
}

// The number after "attention.", if that is all there is.
std::optional<std::int64_t> layer_number(std::string_view name) {
  constexpr std::string_view kPrefix = "attention.";
  if (!name.starts_with(kPrefix)) return {};
  return core::parse_integer(name.substr(kPrefix.size()));
}

}  // namespace

struct AttentionArrays::Impl {
  std::string where;
  std::optional<NpyFile> npy;
  std::optional<core::SafetensorsFile> safetensors;
  std::vector<const core::StoredTensor*> attention;  // one for all layers, or one each
  const core::StoredTensor* norms = nullptr;
  const core::StoredTensor* ids = nullptr;
  Index layers = 0;
  Index heads = 0;
  Index rows = 0;
  Index positions = 0;

  void find_tensors();
  void take_shape(Shape shape, const core::StoredTensor& tensor, bool with_layers);
  void require_shape(const core::StoredTensor& tensor, const Shape& expected) const {
    if (tensor.shape == expected) return;
    throw TraceError("{}: '{}' has shape {}, expected {}", where, tensor.name, core::shape_text(tensor.shape),
                     core::shape_text(expected));
  }
};

void AttentionArrays::Impl::find_tensors() {
  std::vector<const core::StoredTensor*> by_layer;
  for (const core::StoredTensor& tensor : safetensors->tensors()) {
    const auto layer = layer_number(tensor.name);
    if (tensor.name == "attention") {
      attention = {&tensor};
    } else if (tensor.name == "output_norms") {
      norms = &tensor;
    } else if (tensor.name == "tokens") {
      ids = &tensor;
    } else if (layer && *layer >= 0 && *layer < 4096) {
      by_layer.resize(std::max(by_layer.size(), static_cast<std::size_t>(*layer) + 1));
      by_layer[static_cast<std::size_t>(*layer)] = &tensor;
    } else {
      throw TraceError("{}: tensor '{}' is not known; known: attention, attention.<layer>, output_norms, tokens", where,
                       tensor.name);
    }
  }
  if (attention.empty() == by_layer.empty()) {
    throw TraceError("{}: has {} tensor 'attention' {} 'attention.<layer>'", where, attention.empty() ? "neither" : "a",
                     attention.empty() ? "nor any" : "and also");
  }
  if (attention.empty()) {
    const auto missing = std::ranges::find(by_layer, nullptr);
    if (missing != by_layer.end()) {
      throw TraceError("{}: has no tensor 'attention.{}', but later ones", where, missing - by_layer.begin());
    }
    attention = std::move(by_layer);
  }
}

void AttentionArrays::Impl::take_shape(Shape shape, const core::StoredTensor& tensor, bool with_layers) {
  const std::size_t axes = with_layers ? 4 : 3;
  if (shape.size() == axes + 1 && shape[axes - 3] == 1)
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axes - 3));
  const bool too_large = std::ranges::any_of(
      shape, [](std::uint64_t size) { return size > std::numeric_limits<std::int32_t>::max() || size == 0; });
  if (shape.size() != axes || too_large) {
    throw TraceError("{}: '{}' has shape {}, expected {}", where, tensor.name, core::shape_text(tensor.shape),
                     with_layers ? "[layers, query heads, queries, positions], or with a batch of one after the layers"
                                 : "[query heads, queries, positions], or with a batch of one before");
  }
  if (!is_float(tensor)) {
    throw TraceError("{}: '{}' has type {}, expected F32, F16, BF16 or F64", where, tensor.name, tensor.dtype);
  }
  layers = with_layers ? static_cast<Index>(shape.front()) : static_cast<Index>(attention.size());
  heads = static_cast<Index>(shape[axes - 3]);
  rows = static_cast<Index>(shape[axes - 2]);
  positions = static_cast<Index>(shape[axes - 1]);
  if (rows > positions) {
    throw TraceError("{}: '{}' has {} queries for {} positions", where, tensor.name, rows, positions);
  }
}

AttentionArrays::AttentionArrays(const std::filesystem::path& path) : impl_(std::make_unique<Impl>()) {
  Impl& impl = *impl_;
  impl.where = path.string();
  bool with_layers = true;
  if (path.extension() == ".npy") {
    impl.npy.emplace(path);
    impl.attention = {&impl.npy->array()};
  } else if (path.extension() == ".safetensors") {
    impl.safetensors.emplace(path);
    impl.find_tensors();
    with_layers = impl.attention.front()->name == "attention";
  } else {
    throw TraceError("{}: attention arrays are read from .npy and .safetensors files", impl.where);
  }
  const core::StoredTensor& first = *impl.attention.front();
  impl.take_shape(first.shape, first, with_layers);
  for (const core::StoredTensor* tensor : impl.attention) {
    impl.require_shape(*tensor, first.shape);
    if (tensor->dtype != first.dtype) {
      throw TraceError("{}: '{}' has type {}, '{}' {}", impl.where, tensor->name, tensor->dtype, first.name,
                       first.dtype);
    }
  }
  const auto size = [](Index value) { return static_cast<std::uint64_t>(value); };
  if (impl.norms != nullptr) {
    impl.require_shape(*impl.norms, {size(impl.layers), size(impl.heads), size(impl.positions)});
    if (!is_float(*impl.norms)) {
      throw TraceError("{}: 'output_norms' has type {}, expected F32, F16, BF16 or F64", impl.where, impl.norms->dtype);
    }
  }
  if (impl.ids != nullptr) {
    impl.require_shape(*impl.ids, {size(impl.positions)});
    if (impl.ids->dtype != "I32" && impl.ids->dtype != "I64") {
      throw TraceError("{}: 'tokens' has type {}, expected I32 or I64", impl.where, impl.ids->dtype);
    }
  }
}

AttentionArrays::~AttentionArrays() = default;
AttentionArrays::AttentionArrays(AttentionArrays&&) noexcept = default;

Index AttentionArrays::layers() const { return impl_->layers; }
Index AttentionArrays::query_heads() const { return impl_->heads; }
Index AttentionArrays::rows() const { return impl_->rows; }
Index AttentionArrays::positions() const { return impl_->positions; }

void AttentionArrays::copy_row(Index layer, Index head, Index row, std::span<double> out) const {
  const Impl& impl = *impl_;
  const bool together = impl.attention.size() == 1;
  const core::StoredTensor& tensor = *impl.attention[together ? 0 : static_cast<std::size_t>(layer)];
  const Index before = (together ? layer * impl.heads : 0) + head;
  copy_floats(tensor, static_cast<std::size_t>((before * impl.rows + row) * impl.positions), out);
}

std::vector<float> AttentionArrays::output_norms(Index layer) const {
  if (impl_->norms == nullptr) return {};
  const auto count = static_cast<std::size_t>(impl_->heads * impl_->positions);
  std::vector<float> norms(count);
  copy_floats(*impl_->norms, static_cast<std::size_t>(layer) * count, std::span(norms));
  const auto wrong = std::ranges::find_if(norms, [](float norm) { return !(norm >= 0.0F && norm <= 1e30F); });
  if (wrong != norms.end()) {
    throw TraceError("{}: output_norms of layer {} hold {}, which is no norm", impl_->where, layer, *wrong);
  }
  return norms;
}

std::vector<std::int32_t> AttentionArrays::tokens() const {
  std::vector<std::int32_t> tokens;
  if (impl_->ids == nullptr) return tokens;
  for (std::size_t i = 0; i < static_cast<std::size_t>(impl_->positions); ++i) {
    const std::int64_t id = impl_->ids->dtype == "I32" ? std::int64_t{element<std::int32_t>(*impl_->ids, i)}
                                                       : element<std::int64_t>(*impl_->ids, i);
    if (id < 0 || id > std::numeric_limits<std::int32_t>::max()) {
      throw TraceError("{}: 'tokens' holds {}, which is no token id", impl_->where, id);
    }
    tokens.push_back(static_cast<std::int32_t>(id));
  }
  return tokens;
}

}  // namespace evictlab::trace
