#pragma once

#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <string_view>

#include "trace/tensor.hpp"

// One layer of one recorded prompt. Letters as everywhere: H query heads, G kv heads (query head h
// reads kv head h / (H/G)), d head dimension, n prompt positions, T future positions, w recorded
// window queries (the last w of the prompt), R draws of gradients.

namespace evictlab::trace {

/// The datasets of /prompts/<id>/layers/<l>, listed in fields.def.
enum class Field : std::uint32_t {
#define EVICTLAB_TRACE_FIELD(field, ...) field,
#include "trace/fields.def"
};

/// A set of fields.
class Fields {
 public:
  constexpr Fields() = default;
  constexpr Fields(Field field) : bits_(1U << static_cast<std::uint32_t>(field)) {}  // NOLINT: a field is a set of one
  constexpr Fields operator|(Fields other) const { return Fields(bits_ | other.bits_); }
  constexpr Fields& operator|=(Fields other) {
    bits_ |= other.bits_;
    return *this;
  }
  constexpr bool contains(Fields other) const { return (bits_ & other.bits_) == other.bits_; }
  constexpr Fields without(Fields other) const { return Fields(bits_ & ~other.bits_); }
  constexpr bool empty() const { return bits_ == 0; }
  friend constexpr bool operator==(Fields, Fields) = default;

 private:
  constexpr explicit Fields(std::uint32_t bits) : bits_(bits) {}
  std::uint32_t bits_ = 0;
};
constexpr Fields operator|(Field a, Field b) { return Fields(a) | Fields(b); }

inline constexpr Field kAllFields[] = {
#define EVICTLAB_TRACE_FIELD(field, ...) Field::field,
#include "trace/fields.def"
};
static_assert(std::size(kAllFields) <= 32, "Fields has a bit for each");

/// How much a recording holds: each tier includes those before. kExtra is of fields alone, never of a prompt: what is
/// recorded beyond a tier when it is asked for.
enum class Tier { kSummary, kFull, kExtra };
std::string_view tier_name(Tier tier);

enum class FieldElements { kHalf, kFloat, kHalfOrFloat };

/// A row of fields.def.
struct FieldInfo {
  Field field;
  std::string_view name;  // of the dataset: "window_attention"
  Tier tier;              // the smallest that records it
  FieldElements elements;
  std::string_view shape;  // "(H, w, n)"
  std::string_view axes;   // "query_head, window_query, position"
  std::string_view unit;
  std::string_view meaning;
};
inline constexpr FieldInfo kFieldTable[] = {
#define EVICTLAB_TRACE_FIELD(field, dataset, tier, elements, shape, axes, unit, meaning) \
  {Field::field, #dataset, Tier::tier, FieldElements::elements, #shape, axes, unit, meaning},
#include "trace/fields.def"
};
constexpr const FieldInfo& field_info(Field field) { return kFieldTable[static_cast<std::uint32_t>(field)]; }
constexpr std::string_view field_name(Field field) { return field_info(field).name; }

/// Fields that their tier can hold, but that only recordings that ask for them have.
inline constexpr Fields kRequestedFields = Field::kOutputGradients;
/// What every prompt of a tier has.
constexpr Fields tier_fields(Tier tier) {
  Fields fields;
  for (const FieldInfo& info : kFieldTable) {
    if (info.tier <= tier) fields |= info.field;
  }
  return fields.without(kRequestedFields);
}
inline constexpr Fields kSummaryFields = tier_fields(Tier::kSummary);
inline constexpr Fields kFullFields = tier_fields(Tier::kFull);
/// What no tier records by itself.
inline constexpr Fields kExtraFields = tier_fields(Tier::kExtra).without(kFullFields);
/// What a prompt may lack: some cannot be had of every import or model, and traces of version 1 have no residual norms.
inline constexpr Fields kOptionalFields = Field::kAttentionMass | Field::kOutputNorms | Fields(Field::kResidualNorms);
/// Of them, those that the measures and methods of a tier cannot do without.
inline constexpr Fields kNeededInFullTier = Field::kAttentionMass | Field::kOutputNorms;

/// "float16", "float32" or "float16 or float32".
std::string_view elements_name(FieldElements elements);
/// Whether a field may be stored as this type.
bool allows(Field field, ElementType type);

/// The factor of half-precision window attention as it is stored: 2^15, so that weights down to 2^-29
/// keep 11 significant bits while 1 still fits.
inline constexpr float kWindowAttentionScale = 32768.0F;
/// Whether a field may be stored times this factor: 1 always; window attention times its own; gradients, whose size
/// depends on the model, times any power of two.
bool allows_scale(Field field, double scale);
/// The scales that a field may have, for messages.
std::string_view scales_text(Field field);
inline bool is_scaled(Field field) { return field == Field::kWindowAttention || field == Field::kOutputGradients; }
/// No recording has more draws of gradients.
inline constexpr Index kMaxGradientDraws = 65536;
/// Query mean and covariance leave out the positions before: the first tokens' queries are unlike all others.
inline constexpr Index kFirstStatisticsPosition = 4;

/// The sizes one layer's arrays have.
struct LayerShape {
  Index layer = 0;               // 0-based, of the model's layers
  Index layers = 0;              // how many the model has
  Index query_heads = 0;         // H
  Index kv_heads = 0;            // G
  Index head_dim = 0;            // d
  Index prompt_length = 0;       // n
  Index future_length = 0;       // T
  Index window = 0;              // w recorded window queries
  Index sliding_window = 0;      // this layer's; 0 = sees every position
  double attention_scale = 0.0;  // what q·k is multiplied by before the softmax, usually 1/sqrt(d)
  /// Base of plain rotary position encoding whose halves are rotated; 0 without any encoding; empty when positions are
  /// encoded in another way.
  std::optional<double> rope_theta = {};
  Index hidden_size = 0;
  Index gradient_draws = 0;  // R; 0 = no gradients are recorded

  Index group_size() const { return query_heads / kv_heads; }
  Index kv_head_of(Index query_head) const { return query_head / group_size(); }
  /// The first position that the query at `position` sees, itself being the last.
  Index first_seen(Index position) const;
  /// The first prompt position some future query can still see: earlier ones are neither budget nor loss.
  Index first_visible() const;
};

/// Owns one layer's arrays, as fields.def lists them. Those not recorded or not asked for are empty.
struct LayerData {
  LayerShape shape;
#define EVICTLAB_TRACE_FIELD(field, dataset, ...) Tensor dataset;
#include "trace/fields.def"
  Index query_count = 0;  // positions that query_mean and query_covariance are over
  /// W_O of the layer, [H*d, hidden], where a policy reads it: the model's, not the prompt's, so not a field.
  std::shared_ptr<const RowMatrix> output_weight = nullptr;

  Tensor& operator[](Field field);
  const Tensor& operator[](Field field) const;
};

/// The shape a field has in a layer of this shape.
struct FieldShape {
  Index heads, rows, columns;
  bool two_dimensional;  // stored as [heads, columns]
};
FieldShape field_shape(Field field, const LayerShape& shape);

/// Shows what comes after the eviction, by which retention is judged. Policies never see it, the oracle does.
struct FutureView {
  TensorView mass;              // [H, n+T]
  TensorView output_norms;      // [H, n+T]
  TensorView queries;           // [H, T, d]; empty in the summary tier, as keys and values
  TensorView keys;              // [G, n+T, d]
  TensorView values;            // [G, n+T, d]
  TensorView residual_norms;    // [3, T]: of the stream before attention, of what is added, of the sum; may be empty
  TensorView output_gradients;  // [R, T, hidden]; may be empty
};

/// Shows a policy one layer: the prompt's part of the arrays, as fields.def lists them. Filled from a trace or by the
/// running model; views that are not available are empty. Valid as long as the data behind it.
struct LayerView {
  LayerShape shape;
  std::string_view prompt = {};  // the recorded prompt's id; empty for a running model
#define EVICTLAB_LAYER_VIEW(member, ...) TensorView member;
#include "trace/fields.def"
  Index query_count = 0;
  const RowMatrix* output_weight = nullptr;  // [H*d, hidden]: y = sum over h of output of head h * rows h*d ... h*d+d-1
  const FutureView* future = nullptr;        // for the oracle alone
};

/// An array of LayerView and the field it is part of.
struct LayerViewInfo {
  std::string_view name;
  Field field;
  TensorView LayerView::*view;
};
inline constexpr LayerViewInfo kLayerViewTable[] = {
#define EVICTLAB_LAYER_VIEW(member, field, part) {#member, Field::field, &LayerView::member},
#include "trace/fields.def"
};

FutureView future_view(const LayerData& layer);
/// Without a future: give it to the oracle by setting `future`.
LayerView layer_view(const LayerData& layer);

}  // namespace evictlab::trace
