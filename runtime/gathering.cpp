#include "runtime/gathering.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/parallel.hpp"
#include "core/row_kernels.hpp"
#include "runtime/attention.hpp"
#include "runtime/fixed_order_sum.hpp"

namespace evictlab::runtime {
namespace {

using trace::ElementType;
using trace::Field;
using trace::Tensor;

std::span<const float> row_span(const trace::RowMatrix& matrix, Index row) {
  return {matrix.row(row).data(), static_cast<std::size_t>(matrix.cols())};
}

/// Mean [d] and covariance [d, d] (divisor: the count) of one head's queries before position encoding.
void query_statistics(const trace::RowMatrix& queries, Index head, Tensor& mean, Tensor& covariance) {
  const auto used = queries.bottomRows(queries.rows() - trace::kFirstStatisticsPosition).cast<double>();
  const Eigen::RowVectorXd center = used.colwise().mean();
  const Eigen::MatrixXd centered = used.rowwise() - center;
  const trace::RowMatrix spread =
      ((centered.transpose() * centered) / static_cast<double>(centered.rows())).cast<float>();
  const trace::RowMatrix center_float = center.cast<float>();
  mean.set_row(head, 0, row_span(center_float, 0));
  for (Index row = 0; row < spread.rows(); ++row) covariance.set_row(head, row, row_span(spread, row));
}

Tensor stored(const trace::TensorView& states, ElementType dtype) {
  Tensor result(dtype, states.heads(), states.rows(), states.columns());
  std::vector<float> row(static_cast<std::size_t>(states.columns()));
  for (Index head = 0; head < states.heads(); ++head) {
    for (Index i = 0; i < states.rows(); ++i) {
      states.copy_row(head, i, row);
      result.set_row(head, i, row);
    }
  }
  return result;
}

/// L2 norms of the rows of both matrices and of their sum, added up in double: [3, rows].
Tensor residual_norms(const RowMatrix& residual, const RowMatrix& output) {
  const auto norm = [](const Eigen::RowVectorXd& vector) {
    const double* const values = vector.data();
    const auto squares = fixed_order_sum(vector.size(), [values](Index i) { return values[i] * values[i]; });
    return static_cast<float>(std::sqrt(squares));
  };
  Eigen::Matrix<float, 3, Eigen::Dynamic, Eigen::RowMajor> norms(3, residual.rows());
  for (Index t = 0; t < residual.rows(); ++t) {
    const Eigen::RowVectorXd stream = residual.row(t).cast<double>();
    const Eigen::RowVectorXd added = output.row(t).cast<double>();
    norms.col(t) << norm(stream), norm(added), norm(stream + added);
  }
  Tensor result(ElementType::kFloat32, 3, 1, residual.rows());
  std::copy_n(norms.data(), norms.size(), result.floats().begin());
  return result;
}

bool is_wanted(const trace::PromptInfo& prompt, Index layer) {
  return std::ranges::binary_search(prompt.layers, layer);
}

}  // namespace

void MassSums::reset(Index heads, Index positions) {
  sums_.assign(static_cast<std::size_t>(heads), Eigen::VectorXd::Zero(positions));
}

void MassSums::add(Index head, const trace::RowMatrixView& rows) {
  const core::StoredRows<float> stored{rows.data(), static_cast<std::size_t>(rows.outerStride()),
                                       static_cast<std::size_t>(rows.rows()), static_cast<std::size_t>(rows.cols())};
  core::add_column_sums(stored, 1.0, {sums_[static_cast<std::size_t>(head)].data(), stored.columns});
}

Tensor MassSums::tensor() const {
  const auto heads = static_cast<Index>(sums_.size());
  Tensor result(ElementType::kFloat32, heads, 1, sums_.front().size());
  for (Index head = 0; head < heads; ++head) {
    const trace::RowMatrix row = sums_[static_cast<std::size_t>(head)].transpose().cast<float>();
    result.set_row(head, 0, row_span(row, 0));
  }
  return result;
}

Tensor layer_output_norms(const Transformer& model, const KvCache& cache, Index layer, Index positions) {
  const ModelConfig& config = model.config();
  const trace::RowMatrix weight = model.output_weight(layer);  // [H*d, hidden]
  Tensor result(ElementType::kFloat32, config.query_heads, 1, positions);
  core::parallel_for(static_cast<std::size_t>(config.query_heads), [&](std::size_t number) {
    const auto head = static_cast<Index>(number);
    const trace::RowMatrixView head_weight(weight.row(head * config.head_dim).data(), config.head_dim, weight.cols(),
                                           Eigen::OuterStride<>(weight.cols()));
    const trace::RowMatrixView values = cache.values(layer, head / config.group_size());
    const trace::RowMatrixView first(values.data(), positions, values.cols(), Eigen::OuterStride<>(values.cols()));
    result.set_row(head, 0, output_norms(first, head_weight));
  });
  return result;
}

PromptGathering::PromptGathering(const Transformer& model, const trace::ModelInfo& info,
                                 const trace::PromptInfo& prompt, const GatherOptions& options, TakeLayer take,
                                 std::function<void(double)> progress)
    : model_(model),
      info_(info),
      prompt_(prompt),
      options_(options),
      take_(std::move(take)),
      progress_(std::move(progress)) {}

void PromptGathering::on_layer_states(Index layer, const LayerStates& states) {
  wanted_ = is_wanted(prompt_, layer);
  if (!wanted_) return;
  const Index n = prompt_.prompt_length;
  data_ = {};
  data_.shape = trace::layer_shape(info_, prompt_, layer);
  const Index heads = data_.shape.query_heads;
  if (options_.fields.contains(Field::kAttentionMass)) mass_.reset(heads, n);
  if (options_.fields.contains(Field::kWindowAttention)) {
    data_.window_attention = Tensor(ElementType::kFloat16, heads, prompt_.window, n, trace::kWindowAttentionScale);
  }
  if (options_.fields.contains(Field::kOutputNorms)) {
    data_.output_norms = layer_output_norms(model_, states.cache, layer, n);
  }
  take_queries(states);
}

void PromptGathering::take_queries(const LayerStates& states) {
  const trace::LayerShape& shape = data_.shape;
  if (options_.fields.contains(Field::kQueries)) {
    data_.queries =
        stored(states.queries.row_range(shape.prompt_length - shape.window, shape.window), ElementType::kFloat32);
  }
  if (!options_.fields.contains(Field::kQueryMean) && !options_.fields.contains(Field::kQueryCovariance)) return;
  data_.query_mean = Tensor(ElementType::kFloat32, shape.query_heads, 1, shape.head_dim);
  data_.query_covariance = Tensor(ElementType::kFloat32, shape.query_heads, shape.head_dim, shape.head_dim);
  for (Index head = 0; head < shape.query_heads; ++head) {
    query_statistics(states.raw_queries.copy_head(head), head, data_.query_mean, data_.query_covariance);
  }
  data_.query_count = shape.prompt_length - trace::kFirstStatisticsPosition;
}

void PromptGathering::on_attention(Index /*layer*/, Index head, Index first_query, const trace::RowMatrixView& rows) {
  if (!wanted_) return;
  if (options_.fields.contains(Field::kAttentionMass)) mass_.add(head, rows);
  const Index first_window = prompt_.prompt_length - prompt_.window;
  if (!options_.fields.contains(Field::kWindowAttention) || first_query + rows.rows() <= first_window) return;
  std::vector<float> padded(static_cast<std::size_t>(prompt_.prompt_length));
  for (Index row = std::max(Index{0}, first_window - first_query); row < rows.rows(); ++row) {
    std::fill(std::copy_n(rows.row(row).data(), rows.cols(), padded.begin()), padded.end(), 0.0F);
    data_.window_attention.set_row(head, first_query + row - first_window, padded);
  }
}

void PromptGathering::on_layer_end(Index layer) {
  if (wanted_) {
    if (options_.fields.contains(Field::kAttentionMass)) data_.attention_mass = mass_.tensor();
    take_(std::exchange(data_, {}));
  }
  if (progress_) progress_(static_cast<double>(layer + 1) / static_cast<double>(info_.layers));
}

FutureGathering::FutureGathering(const Transformer& model, const trace::ModelInfo& info,
                                 const trace::PromptInfo& prompt, const GatherOptions& options,
                                 std::vector<Tensor> window_queries, TakeLayer take)
    : model_(model),
      info_(info),
      prompt_(prompt),
      options_(options),
      window_queries_(std::move(window_queries)),
      take_(std::move(take)) {}

void FutureGathering::on_layer_states(Index layer, const LayerStates& states) {
  wanted_ = is_wanted(prompt_, layer);
  if (!wanted_) return;
  data_ = {};
  data_.shape = trace::layer_shape(info_, prompt_, layer);
  const Index positions = prompt_.prompt_length + prompt_.future_length;
  mass_.reset(data_.shape.query_heads, positions);
  if (options_.fields.contains(Field::kOutputNorms)) {
    data_.output_norms = layer_output_norms(model_, states.cache, layer, positions);
  }
  if (options_.fields.contains(Field::kQueries)) {
    data_.queries = queries(window_queries_[taken_], states.queries);
    window_queries_[taken_] = {};
  }
  if (options_.fields.contains(Field::kKeys)) data_.keys = stored(states.cache.layer_keys(layer), options_.dtype);
  if (options_.fields.contains(Field::kValues)) data_.values = stored(states.cache.layer_values(layer), options_.dtype);
}

void FutureGathering::on_attention(Index /*layer*/, Index head, Index /*first_query*/,
                                   const trace::RowMatrixView& rows) {
  if (wanted_) mass_.add(head, rows);
}

void FutureGathering::on_attention_output(Index layer, Index first_query, const RowMatrix& residual,
                                          const RowMatrix& output) {
  if (options_.stream != nullptr) options_.stream->on_attention_output(layer, first_query, residual, output);
  if (wanted_ && options_.fields.contains(Field::kResidualNorms)) {
    data_.residual_norms = residual_norms(residual, output);
  }
}

void FutureGathering::on_layer_end(Index /*layer*/) {
  if (!wanted_) return;
  data_.future_mass = mass_.tensor();
  ++taken_;
  take_(std::exchange(data_, {}));
}

/// The window's queries followed by the future's, [H, w+T, d].
Tensor FutureGathering::queries(const Tensor& window, const trace::TensorView& future) const {
  Tensor result(options_.dtype, window.heads(), window.rows() + future.rows(), window.columns());
  std::vector<float> row(static_cast<std::size_t>(window.columns()));
  for (Index head = 0; head < window.heads(); ++head) {
    for (Index i = 0; i < result.rows(); ++i) {
      if (i < window.rows()) {
        window.view().copy_row(head, i, row);
      } else {
        future.copy_row(head, i - window.rows(), row);
      }
      result.set_row(head, i, row);
    }
  }
  return result;
}

}  // namespace evictlab::runtime
