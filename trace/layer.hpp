#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "trace/tensor.hpp"

// One layer of one recorded prompt. Letters as everywhere: H query heads, G kv heads (query head h
// reads kv head h / (H/G)), d head dimension, n prompt positions, T future positions, w recorded
// window queries (the last w of the prompt).

namespace evictlab::trace {

/// The datasets of /prompts/<id>/layers/<l>. Values are bits of a Fields mask.
enum class Field : std::uint32_t {
  kWindowAttention = 1U << 0U,
  kAttentionMass = 1U << 1U,
  kFutureMass = 1U << 2U,
  kOutputNorms = 1U << 3U,
  kQueries = 1U << 4U,
  kKeys = 1U << 5U,
  kValues = 1U << 6U,
  kQueryMean = 1U << 7U,
  kQueryCovariance = 1U << 8U,
};

class Fields {
 public:
  constexpr Fields() = default;
  constexpr Fields(Field field) : bits_(static_cast<std::uint32_t>(field)) {}  // NOLINT: a field is a set of one
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

inline constexpr Field kAllFields[] = {Field::kWindowAttention, Field::kAttentionMass, Field::kFutureMass,
                                       Field::kOutputNorms,     Field::kQueries,       Field::kKeys,
                                       Field::kValues,          Field::kQueryMean,     Field::kQueryCovariance};
inline constexpr Fields kSummaryFields =
    Field::kWindowAttention | Field::kAttentionMass | Fields(Field::kFutureMass) | Field::kOutputNorms;
inline constexpr Fields kFullFields =
    kSummaryFields | Field::kQueries | Field::kKeys | Field::kValues | Field::kQueryMean | Field::kQueryCovariance;

/// The dataset's name in a trace: "window_attention", ...
std::string_view field_name(Field field);

/// What half-precision window attention is multiplied by when stored: 2^15, so that weights down to 2^-29
/// keep 11 significant bits while 1 still fits.
inline constexpr float kWindowAttentionScale = 32768.0F;
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

  Index group_size() const { return query_heads / kv_heads; }
  Index kv_head_of(Index query_head) const { return query_head / group_size(); }
  /// The first position that the query at `position` sees, itself being the last.
  Index first_seen(Index position) const;
  /// The first prompt position some future query can still see: earlier ones are neither budget nor loss.
  Index first_visible() const;
};

/// One layer's arrays, owned. Those not recorded or not asked for are empty.
struct LayerData {
  LayerShape shape;
  Tensor window_attention;  // [H, w, n]    half times its scale: softmax rows of the last w prompt queries
  Tensor attention_mass;    // [H, n]       float: sum over all prompt queries of softmax attention
  Tensor future_mass;       // [H, n+T]     float: sum over all future queries of softmax attention
  Tensor output_norms;      // [H, n+T]     float: L1 norm of value_j * W_O^(h)
  Tensor queries;           // [H, w+T, d]  the window's and the future's, position encoding applied
  Tensor keys;              // [G, n+T, d]  position encoding applied
  Tensor values;            // [G, n+T, d]
  Tensor query_mean;        // [H, d]       float: before position encoding, over prompt positions >= 4
  Tensor query_covariance;  // [H, d, d]    float: divisor = the count
  Index query_count = 0;    // positions that mean and covariance are over

  Tensor& operator[](Field field);
  const Tensor& operator[](Field field) const;
};

/// The shape a field has in a layer of this shape.
struct FieldShape {
  Index heads, rows, columns;
  bool two_dimensional;  // stored as [heads, columns]
};
FieldShape field_shape(Field field, const LayerShape& shape);

/// What comes after the eviction: what retention is judged by. Policies never see it, the oracle does.
struct FutureView {
  TensorView mass;          // [H, n+T]
  TensorView output_norms;  // [H, n+T]
  TensorView queries;       // [H, T, d]; empty in the summary tier, as keys and values
  TensorView keys;          // [G, n+T, d]
  TensorView values;        // [G, n+T, d]
};

/// What a policy may see of one layer: the prompt's arrays. Filled from a trace or by the running
/// model; views that are not available are empty. Valid as long as the data behind it.
struct LayerView {
  LayerShape shape;
  std::string_view prompt = {};  // the recorded prompt's id; empty for a running model
  TensorView window_attention;   // [H, w, n]
  TensorView attention_mass;     // [H, n]
  TensorView output_norms;       // [H, n]
  TensorView window_queries;     // [H, w, d]
  TensorView keys;               // [G, n, d]
  TensorView values;             // [G, n, d]
  TensorView query_mean;         // [H, d]
  TensorView query_covariance;   // [H, d, d]
  Index query_count = 0;
  const FutureView* future = nullptr;  // for the oracle alone
};

FutureView future_view(const LayerData& layer);
/// Without a future: give it to the oracle by setting `future`.
LayerView layer_view(const LayerData& layer);

}  // namespace evictlab::trace
