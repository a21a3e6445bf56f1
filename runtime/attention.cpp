#include "runtime/attention.hpp"

#include <algorithm>
#include <cmath>

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
