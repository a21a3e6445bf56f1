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

/// The first slot that the query in slot `query` sees.
Index first_visible(const SlidingWindow& window, Index query) {
  if (window.size == 0) return 0;
  const auto& positions = window.positions;
  const Index oldest = positions[static_cast<std::size_t>(query)] - window.size + 1;
  return std::lower_bound(positions.begin(), positions.begin() + query, oldest) - positions.begin();
}

/// softmax() of the slots up to `query` that a window over positions in any order shows; 0 for the others of `width`.
void windowed_softmax(float* weights, Index query, Index width, float scale, const SlidingWindow& window) {
  const auto& positions = window.positions;
  const Index oldest = positions[static_cast<std::size_t>(query)] - window.size + 1;
  std::vector<Index> visible;
  for (Index slot = 0; slot <= query; ++slot) {
    if (positions[static_cast<std::size_t>(slot)] >= oldest) visible.push_back(slot);
  }
  const auto count = static_cast<Index>(visible.size());
  std::vector<float> packed(static_cast<std::size_t>(softmax_padded(count)));
  for (std::size_t i = 0; i < visible.size(); ++i) packed[i] = weights[visible[i]];
  softmax(packed.data(), count, count, scale);
  std::fill(weights, weights + width, 0.0F);
  for (std::size_t i = 0; i < visible.size(); ++i) weights[visible[i]] = packed[i];
}

}  // namespace

void causal_attention(const RowMatrixView& queries, const RowMatrixView& keys, const RowMatrixView& values, float scale,
                      Eigen::Ref<RowMatrix> output, const AttentionSink& sink, const SlidingWindow& window) {
  const Index before = keys.rows() - queries.rows();
  // A compacted cache may hold positions in another order: then a window shows no range of slots.
  const bool ordered = window.size == 0 || std::ranges::is_sorted(window.positions);
  // A row that begins at its first visible slot may end that much later.
  const Index spare = window.size == 0 ? 0 : kSoftmaxPadding;
  RowMatrix buffer(std::min(kQueryBlock, queries.rows()), softmax_padded(keys.rows()) + spare);
  for (Index first = 0; first < queries.rows(); first += kQueryBlock) {
    const Index rows = std::min(kQueryBlock, queries.rows() - first);
    const Index width = before + first + rows;
    const Index begin =
        ordered ? first_visible(window, before + first) : 0;  // of the block's first query, so of all of them
    auto scores = buffer.block(0, begin, rows, width - begin);
    scores.noalias() = queries.middleRows(first, rows) * keys.middleRows(begin, width - begin).transpose();
    for (Index row = 0; row < rows; ++row) {
      const Index query = before + first + row;
      float* weights = buffer.row(row).data();
      if (!ordered) {
        windowed_softmax(weights, query, width, scale, window);
        continue;
      }
      const Index visible = first_visible(window, query);
      std::fill(weights, weights + visible, 0.0F);
      softmax(weights + visible, query + 1 - visible, width - visible, scale);
    }
    output.middleRows(first, rows).noalias() = scores * values.middleRows(begin, width - begin);
    if (sink) sink(first, RowMatrixView(buffer.data(), rows, width, Eigen::OuterStride<>(buffer.cols())));
  }
}

void cached_attention(const trace::TensorView& queries, const KvCache& cache, Index layer, float scale,
                      Index sliding_window, Eigen::Ref<RowMatrix> output, const HeadAttentionSink& sink) {
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
                       own, {sliding_window, cache.positions(layer, held)});
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
