#include <Eigen/Core>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "core/parallel.hpp"
#include "trace/synthetic.hpp"
#include "trace/synthetic_attention.hpp"
#include "trace/synthetic_material.hpp"

namespace evictlab::trace {
namespace {

using RowMatrixDouble = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr Index kValueBlock = 256;  // positions whose values are drawn and used at a time

void set_double_row(Tensor& tensor, Index head, Index row, const std::vector<double>& values) {
  const std::vector<float> floats(values.begin(), values.end());
  tensor.set_row(head, row, floats);
}

void add(const std::vector<double>& part, std::vector<double>& sum) {
  for (std::size_t j = 0; j < part.size(); ++j) sum[j] += part[j];
}

// `features` are the keys of the head's kv head on the axes that queries look at.
void record_attention(const std::vector<QueryRun>& runs, const RowMatrix& features, Index head, LayerData& out) {
  const LayerShape& shape = out.shape;
  const Index n = shape.prompt_length;
  std::vector<double> prompt_mass(static_cast<std::size_t>(n));
  std::vector<double> future_mass(static_cast<std::size_t>(features.rows()));
  std::vector<double> row(static_cast<std::size_t>(n));
  for (const QueryRun& run : runs) {
    const Eigen::VectorXd products =
        features.col(run.axis).head(run.end).cast<double>() * static_cast<double>(run.value);
    const std::span<const double> logits(products.data(), static_cast<std::size_t>(run.end));
    const auto mass = [&](Index begin, Index end) {
      return attention_mass(logits.first(static_cast<std::size_t>(end)), shape.attention_scale, shape.sliding_window,
                            begin, end);
    };
    if (run.begin < n) add(mass(run.begin, std::min(n, run.end)), prompt_mass);
    if (run.end > n) add(mass(std::max(n, run.begin), run.end), future_mass);
    for (Index t = std::max(run.begin, n - shape.window); t < std::min(n, run.end); ++t) {
      std::ranges::fill(row, 0.0);
      softmax_row(logits, shape.attention_scale, shape.first_seen(t), t, row);
      set_double_row(out.window_attention, head, t - (n - shape.window), row);
    }
  }
  set_double_row(out.attention_mass, head, 0, prompt_mass);
  set_double_row(out.future_mass, head, 0, future_mass);
}

// ||v W||_1 with W [d, hidden]. Each output is summed over the axes in order, as many outputs at a time as registers
// hold.
double output_norm(const double* value, const RowMatrixDouble& weight, Index first_row, Index axes) {
  constexpr Index kTile = 16;
  using Tile = Eigen::Array<double, 1, kTile>;
  double norm = 0.0;
  Index i = 0;
  for (; i + kTile <= weight.cols(); i += kTile) {
    Tile output = Tile::Zero();
    for (Index c = 0; c < axes; ++c) {
      output += value[c] * Eigen::Map<const Tile>(weight.data() + (first_row + c) * weight.cols() + i);
    }
    for (Index k = 0; k < kTile; ++k) norm += std::abs(output[k]);
  }
  for (; i < weight.cols(); ++i) {
    double output = 0.0;
    for (Index c = 0; c < axes; ++c) output += value[c] * weight(first_row + c, i);
    norm += std::abs(output);
  }
  return norm;
}

void copy_rows(const RowMatrix& from, Index first, Index head, Tensor& to, Index to_row, Index count) {
  for (Index row = 0; row < count; ++row) {
    to.set_row(head, to_row + row, {from.row(first + row).data(), static_cast<std::size_t>(from.cols())});
  }
}

// Values are drawn, used for the norms ||v_j W_O^(h)||_1 and, in the full tier, stored block by block.
void record_values(const SyntheticOptions& options, Index prompt, LayerData& out) {
  const LayerShape& shape = out.shape;
  const Index positions = shape.prompt_length + shape.future_length;
  const Index blocks = (positions + kValueBlock - 1) / kValueBlock;
  const RowMatrixDouble weight = synthetic_output_weight(options, shape.layer).cast<double>();  // [H*d, hidden]
  const std::span<float> norms = out.output_norms.floats();
  core::parallel_for(static_cast<std::size_t>(shape.kv_heads * blocks), [&](std::size_t index) {
    const Index kv_head = static_cast<Index>(index) / blocks;
    const Index first = static_cast<Index>(index) % blocks * kValueBlock;
    const Index count = std::min(kValueBlock, positions - first);
    const RowMatrix values = synthetic_values(options, prompt, shape.layer, kv_head, first, count);
    if (!out.values.empty()) copy_rows(values, 0, kv_head, out.values, first, count);
    const RowMatrixDouble block = values.cast<double>();
    for (Index head = kv_head * shape.group_size(); head < (kv_head + 1) * shape.group_size(); ++head) {
      for (Index j = 0; j < count; ++j) {
        const double norm = output_norm(block.row(j).data(), weight, head * shape.head_dim, shape.head_dim);
        norms[static_cast<std::size_t>(head * positions + first + j)] = static_cast<float>(norm);
      }
    }
  });
}

void record_queries(const RowMatrix& queries, Index head, LayerData& out) {
  copy_rows(queries, out.shape.prompt_length - out.shape.window, head, out.queries, 0, out.queries.rows());
  const Index count = out.query_count;
  const Eigen::MatrixXd prompt = queries.middleRows(kFirstStatisticsPosition, count).cast<double>();
  const Eigen::RowVectorXd mean = prompt.colwise().sum() / static_cast<double>(count);
  const Eigen::MatrixXd centred = prompt.rowwise() - mean;
  const RowMatrix covariance = (centred.transpose() * centred / static_cast<double>(count)).cast<float>();
  set_double_row(out.query_mean, head, 0, {mean.begin(), mean.end()});
  copy_rows(covariance, 0, head, out.query_covariance, 0, covariance.rows());
}

LayerData empty_layer(const SyntheticOptions& options, const LayerShape& shape) {
  LayerData out;
  out.shape = shape;
  for (const Field field : kAllFields) {
    if (!tier_fields(options.tier).contains(field)) continue;
    const FieldShape size = field_shape(field, shape);
    const bool half = field == Field::kWindowAttention;
    const bool typed = field == Field::kQueries || field == Field::kKeys || field == Field::kValues;
    const ElementType type = half ? ElementType::kFloat16 : typed ? options.element_type : ElementType::kFloat32;
    out[field] = Tensor(type, size.heads, size.rows, size.columns, half ? kWindowAttentionScale : 1.0F);
  }
  if (options.tier == Tier::kFull) out.query_count = shape.prompt_length - kFirstStatisticsPosition;
  return out;
}

}  // namespace

// In the summary tier what is not recorded and changes nothing is not drawn: noise of keys and queries.
LayerData synthetic_layer(const SyntheticOptions& options, Index prompt, Index layer) {
  LayerData out =
      empty_layer(options, layer_shape(synthetic_model(options), synthetic_prompt_info(options, prompt), layer));
  const LayerShape& shape = out.shape;
  const bool full = options.tier == Tier::kFull;
  std::vector<RowMatrix> features(static_cast<std::size_t>(shape.kv_heads));
  core::parallel_for(features.size(), [&](std::size_t index) {
    const auto kv_head = static_cast<Index>(index);
    features[index] = synthetic_key_features(options, prompt, layer, kv_head);
    if (!full) return;
    const RowMatrix keys = synthetic_keys(options, prompt, layer, kv_head);
    copy_rows(keys, 0, kv_head, out.keys, 0, keys.rows());
  });
  core::parallel_for(static_cast<std::size_t>(shape.query_heads), [&](std::size_t index) {
    const auto head = static_cast<Index>(index);
    record_attention(synthetic_query_runs(options, shape, head),
                     features[static_cast<std::size_t>(shape.kv_head_of(head))], head, out);
    if (full) record_queries(synthetic_queries(options, prompt, shape, head), head, out);
  });
  record_values(options, prompt, out);
  return out;
}

}  // namespace evictlab::trace
