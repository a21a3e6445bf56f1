#include "runtime/attention.hpp"

#include <algorithm>
#include <cmath>

#include "runtime/fixed_order_sum.hpp"
#include "runtime/softmax.hpp"

namespace evictlab::runtime {
namespace {

// Rows of values projected at a time.
constexpr Index kValueBlock = 128;

/// The first slot that the query in slot `query` sees.
Index first_visible(const SlidingWindow& window, Index query) {
  if (window.size == 0) return 0;
  const auto& positions = window.positions;
  const Index oldest = positions[static_cast<std::size_t>(query)] - window.size + 1;
  return std::lower_bound(positions.begin(), positions.begin() + query, oldest) - positions.begin();
}

}  // namespace

void causal_attention(const RowMatrixView& queries, const RowMatrixView& keys, const RowMatrixView& values, float scale,
                      Eigen::Ref<RowMatrix> output, const AttentionSink& sink, const SlidingWindow& window) {
  const Index before = keys.rows() - queries.rows();
  // A row that begins at its first visible slot may end that much later.
  const Index spare = window.size == 0 ? 0 : kSoftmaxPadding;
  RowMatrix buffer(std::min(kQueryBlock, queries.rows()), softmax_padded(keys.rows()) + spare);
  for (Index first = 0; first < queries.rows(); first += kQueryBlock) {
    const Index rows = std::min(kQueryBlock, queries.rows() - first);
    const Index width = before + first + rows;
    const Index begin = first_visible(window, before + first);  // of the block's first query, so of all of them
    auto scores = buffer.block(0, begin, rows, width - begin);
    scores.noalias() = queries.middleRows(first, rows) * keys.middleRows(begin, width - begin).transpose();
    for (Index row = 0; row < rows; ++row) {
      const Index query = before + first + row;
      const Index visible = first_visible(window, query);
      float* weights = buffer.row(row).data();
      std::fill(weights, weights + visible, 0.0F);
      softmax(weights + visible, query + 1 - visible, width - visible, scale);
    }
    output.middleRows(first, rows).noalias() = scores * values.middleRows(begin, width - begin);
    if (sink) sink(first, RowMatrixView(buffer.data(), rows, width, Eigen::OuterStride<>(buffer.cols())));
  }
}

std::vector<float> output_norms(const RowMatrixView& values, const RowMatrixView& output_weight) {
  std::vector<float> norms;
  norms.reserve(static_cast<std::size_t>(values.rows()));
  RowMatrix projected(std::min(kValueBlock, values.rows()), output_weight.cols());
  for (Index first = 0; first < values.rows(); first += kValueBlock) {
    const Index rows = std::min(kValueBlock, values.rows() - first);
    projected.topRows(rows).noalias() = values.middleRows(first, rows) * output_weight;
    for (Index row = 0; row < rows; ++row) {
      const float* u = projected.row(row).data();
      norms.push_back(static_cast<float>(fixed_order_sum(projected.cols(), [u](Index i) { return std::abs(u[i]); })));
    }
  }
  return norms;
}

}  // namespace evictlab::runtime
