#include "runtime/attention.hpp"

#include <algorithm>
#include <cmath>

#include "core/parallel.hpp"
#include "runtime/fixed_order_sum.hpp"
#include "runtime/softmax.hpp"

namespace evictlab::runtime {
namespace {

// Rows of values projected at a time.
constexpr Index kValueBlock = 128;

}  // namespace

void causal_attention(const RowMatrixView& queries, const RowMatrixView& keys, const RowMatrixView& values, float scale,
                      Eigen::Ref<RowMatrix> output, const AttentionSink& sink) {
  const Index before = keys.rows() - queries.rows();
  RowMatrix buffer(std::min(kQueryBlock, queries.rows()), softmax_padded(keys.rows()));
  for (Index first = 0; first < queries.rows(); first += kQueryBlock) {
    const Index rows = std::min(kQueryBlock, queries.rows() - first);
    const Index width = before + first + rows;
    auto scores = buffer.topLeftCorner(rows, width);
    scores.noalias() = queries.middleRows(first, rows) * keys.topRows(width).transpose();
    for (Index row = 0; row < rows; ++row) softmax(buffer.row(row).data(), before + first + row + 1, width, scale);
    output.middleRows(first, rows).noalias() = scores * values.topRows(width);
    if (sink) sink(first, RowMatrixView(buffer.data(), rows, width, Eigen::OuterStride<>(buffer.cols())));
  }
}

void cached_attention(const trace::TensorView& queries, const KvCache& cache, Index layer, float scale,
                      Eigen::Ref<RowMatrix> output, const HeadAttentionSink& sink) {
  const Index m = queries.rows();
  const Index d = queries.columns();
  const Index group = queries.heads() / cache.kv_heads();
  const Index sharing = queries.heads() / cache.heads(layer);  // query heads that read the same slots
  core::parallel_for(static_cast<std::size_t>(cache.kv_heads()), [&](std::size_t task) {
    const auto g = static_cast<Index>(task);
    for (Index h = g * group; h < (g + 1) * group; ++h) {
      AttentionSink own;
      if (sink) own = [&sink, h](Index first, const RowMatrixView& rows) { sink(h, first, rows); };
      const RowMatrixView asked(queries.float_row(h, 0).data(), m, d, Eigen::OuterStride<>(d));
      const Index held = h / sharing;
      causal_attention(asked, cache.keys(layer, held), cache.values(layer, held), scale, output.middleCols(h * d, d),
                       own);
    }
  });
}

std::vector<float> output_norms(const RowMatrixView& values, const RowMatrixView& output_weight) {
  std::vector<float> norms;
  norms.reserve(static_cast<std::size_t>(values.rows()));
  // Always a whole block: products of other sizes may be summed in another order.
  RowMatrix block = RowMatrix::Zero(kValueBlock, values.cols());
  RowMatrix projected(kValueBlock, output_weight.cols());
  for (Index first = 0; first < values.rows(); first += kValueBlock) {
    const Index rows = std::min(kValueBlock, values.rows() - first);
    block.topRows(rows) = values.middleRows(first, rows);
    projected.noalias() = block * output_weight;
    for (Index row = 0; row < rows; ++row) {
      const float* u = projected.row(row).data();
      norms.push_back(static_cast<float>(fixed_order_sum(projected.cols(), [u](Index i) { return std::abs(u[i]); })));
    }
  }
  return norms;
}

}  // namespace evictlab::runtime
