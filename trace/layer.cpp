#include "trace/layer.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace evictlab::trace {

std::string_view tier_name(Tier tier) {
  switch (tier) {
    case Tier::kSummary:
      return "summary";
    case Tier::kFull:
      return "full";
    case Tier::kExtra:
      break;
  }
  return "extra";
}

std::string_view elements_name(FieldElements elements) {
  switch (elements) {
    case FieldElements::kHalf:
      return "float16";
    case FieldElements::kFloat:
      return "float32";
    case FieldElements::kHalfOrFloat:
      return "float16 or float32";
  }
  throw std::invalid_argument("not the elements of a field");
}

bool allows(Field field, ElementType type) {
  const FieldElements elements = field_info(field).elements;
  return elements == FieldElements::kHalfOrFloat ||
         (elements == FieldElements::kHalf) == (type == ElementType::kFloat16);
}

bool allows_scale(Field field, double scale) {
  if (scale == 1.0) return true;
  if (field == Field::kWindowAttention) return scale == double{kWindowAttentionScale};
  int exponent = 0;
  return field == Field::kOutputGradients && std::isfinite(static_cast<float>(scale)) &&
         std::frexp(scale, &exponent) == 0.5 && std::isnormal(static_cast<float>(scale));
}

std::string_view scales_text(Field field) {
  if (field == Field::kWindowAttention) return "1 or 32768";
  return field == Field::kOutputGradients ? "a power of two" : "1";
}

Index LayerShape::first_seen(Index position) const {
  // In a sliding window, positions j with position - j < sliding_window.
  return sliding_window == 0 ? 0 : std::max<Index>(0, position - sliding_window + 1);
}

// The earliest future query is the one at position n.
Index LayerShape::first_visible() const { return first_seen(prompt_length); }

const Tensor& LayerData::operator[](Field field) const {
  switch (field) {
#define EVICTLAB_TRACE_FIELD(field, dataset, ...) \
  case Field::field:                              \
    return dataset;
#include "trace/fields.def"
  }
  throw std::invalid_argument("not a field");
}

Tensor& LayerData::operator[](Field field) { return const_cast<Tensor&>(static_cast<const LayerData&>(*this)[field]); }

namespace {

FieldShape shape_of(Index heads, Index rows, Index columns) { return {heads, rows, columns, false}; }
FieldShape shape_of(Index heads, Index columns) { return {heads, 1, columns, true}; }

}  // namespace

FieldShape field_shape(Field field, const LayerShape& shape) {
  const Index H = shape.query_heads;
  const Index G = shape.kv_heads;
  const Index d = shape.head_dim;
  const Index n = shape.prompt_length;
  const Index T = shape.future_length;
  const Index w = shape.window;
  const Index R = shape.gradient_draws;
  const Index hidden = shape.hidden_size;
  switch (field) {
#define EVICTLAB_TRACE_FIELD(field, dataset, tier, elements, shape, ...) \
  case Field::field:                                                     \
    return shape_of shape;
#include "trace/fields.def"
  }
  throw std::invalid_argument("not a field");
}

namespace {

// Parts of arrays that may be missing: a missing array's part is empty, not out of range.
TensorView rows_of(const Tensor& tensor, Index first, Index count) {
  return tensor.empty() ? TensorView() : tensor.view().row_range(first, count);
}

TensorView all_of(const Tensor& tensor) { return tensor.empty() ? TensorView() : tensor.view(); }

// The parts that fields.def names.

TensorView whole(const Tensor& tensor, const LayerShape&) { return all_of(tensor); }

TensorView prompt_columns(const Tensor& tensor, const LayerShape& shape) {
  return tensor.empty() ? TensorView() : tensor.view().column_range(0, shape.prompt_length);
}

TensorView prompt_rows(const Tensor& tensor, const LayerShape& shape) {
  return rows_of(tensor, 0, shape.prompt_length);
}

TensorView window_rows(const Tensor& tensor, const LayerShape& shape) { return rows_of(tensor, 0, shape.window); }

}  // namespace

FutureView future_view(const LayerData& layer) {
  return {.mass = all_of(layer.future_mass),
          .output_norms = all_of(layer.output_norms),
          .queries = rows_of(layer.queries, layer.shape.window, layer.shape.future_length),
          .keys = all_of(layer.keys),
          .values = all_of(layer.values),
          .residual_norms = all_of(layer.residual_norms),
          .output_gradients = all_of(layer.output_gradients)};
}

LayerView layer_view(const LayerData& layer) {
  LayerView view;
  view.shape = layer.shape;
#define EVICTLAB_LAYER_VIEW(member, field, part) view.member = part(layer[Field::field], layer.shape);
#include "trace/fields.def"
  view.query_count = layer.query_count;
  view.output_weight = layer.output_weight.get();
  return view;
}

}  // namespace evictlab::trace
