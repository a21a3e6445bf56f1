#include "runtime/backward.hpp"

#include <algorithm>
#include <cmath>

#include "core/fixed_blocking.hpp"
#include "core/parallel.hpp"
#include "runtime/attention.hpp"
#include "runtime/fixed_order_sum.hpp"

namespace evictlab::runtime {
namespace {

Index draws_of(Index gradient_rows, Index rows) { return gradient_rows / rows; }

}  // namespace

void rms_norm_backward(const Eigen::Ref<const RowMatrix>& x, std::span<const float> weight, double eps,
                       Eigen::Ref<RowMatrix> dy) {
  const auto size = static_cast<double>(x.cols());
  core::parallel_for(static_cast<std::size_t>(x.rows()), [&](std::size_t task) {
    const auto t = static_cast<Index>(task);
    const float* const in = x.row(t).data();
    const float* const w = weight.data();
    const double squares =
        fixed_order_sum(x.cols(), [in](Index i) { return static_cast<double>(in[i]) * static_cast<double>(in[i]); });
    const double factor = 1.0 / std::sqrt(squares / size + eps);
    for (Index row = t; row < dy.rows(); row += x.rows()) {
      float* const d = dy.row(row).data();
      const double product = fixed_order_sum(x.cols(), [in, w, d](Index i) {
        return static_cast<double>(w[i]) * static_cast<double>(d[i]) * static_cast<double>(in[i]);
      });
      const auto along = static_cast<float>(factor * factor * factor / size * product);
      const auto across = static_cast<float>(factor);
      for (Index i = 0; i < x.cols(); ++i) d[i] = across * w[i] * d[i] - in[i] * along;
    }
  });
}

void gate_with_silu_backward(const Eigen::Ref<const RowMatrix>& gate, const Eigen::Ref<const RowMatrix>& up,
                             Eigen::Ref<RowMatrix> dy, Eigen::Ref<RowMatrix> dgate) {
  core::parallel_for(static_cast<std::size_t>(gate.rows()), [&](std::size_t task) {
    const auto t = static_cast<Index>(task);
    const auto g = gate.row(t).array();
    const Eigen::ArrayXXf sigmoid = 1.0F / (1.0F + (-g).exp());
    const Eigen::ArrayXXf by_up = g * sigmoid;
    const Eigen::ArrayXXf by_gate = up.row(t).array() * sigmoid * (1.0F + g * (1.0F - sigmoid));
    for (Index row = t; row < dy.rows(); row += gate.rows()) {
      dgate.row(row).array() = dy.row(row).array() * by_gate;
      dy.row(row).array() *= by_up;
    }
  });
}

void rotate_backward(const RopeTable& table, Eigen::Ref<RowMatrix> gradients) {
  const Index pairs = table.cosine.cols();
  const Index rows = table.cosine.rows();
  const RopeTable back{table.cosine, -table.sine};
  RowMatrix turned(rows, 2 * pairs);
  for (Index draw = 0; draw < draws_of(gradients.rows(), rows); ++draw) {
    for (Index column = 0; column < gradients.cols(); column += 2 * pairs) {
      auto head = gradients.block(draw * rows, column, rows, 2 * pairs);
      rotate(head, back, turned);
      head = turned;
    }
  }
}

AttentionGradients cached_attention_backward(const trace::TensorView& queries, const KvCache& cache, Index layer,
                                             float scale, Index sliding_window, const RowMatrix& output_gradients) {
  core::use_fixed_blocking();
  const Index m = queries.rows();
  const Index d = queries.columns();
  const Index draws = draws_of(output_gradients.rows(), m);
  const Index group = queries.heads() / cache.kv_heads();
  AttentionGradients gradients{RowMatrix(output_gradients.rows(), queries.heads() * d),
                               RowMatrix::Zero(output_gradients.rows(), cache.kv_heads() * d),
                               RowMatrix::Zero(output_gradients.rows(), cache.kv_heads() * d)};
  // Query heads of a kv head come one after the other from one thread, so its keys' and values' sums have one order.
  const auto add_block = [&](Index head, Index first, const RowMatrixView& attention) {
    const Index kv_head = head / group;
    const Index slots = attention.cols();  // up to the block's last query
    const Index seen = first + attention.rows();
    const RowMatrixView asked(queries.float_row(head, first).data(), attention.rows(), d, Eigen::OuterStride<>(d));
    const auto keys = cache.keys(layer, kv_head).topRows(slots);
    const auto values = cache.values(layer, kv_head).topRows(slots);
    RowMatrix scores(attention.rows(), slots);  // dA, then dS
    for (Index draw = 0; draw < draws; ++draw) {
      const auto output = output_gradients.block(draw * m + first, head * d, attention.rows(), d);
      scores.noalias() = output * values.transpose();
      for (Index row = 0; row < attention.rows(); ++row) {
        const float* const a = attention.row(row).data();
        float* const s = scores.row(row).data();
        const auto mean = static_cast<float>(
            fixed_order_sum(slots, [a, s](Index j) { return static_cast<double>(a[j]) * static_cast<double>(s[j]); }));
        for (Index j = 0; j < slots; ++j) s[j] = scale * a[j] * (s[j] - mean);
      }
      gradients.queries.block(draw * m + first, head * d, attention.rows(), d).noalias() = scores * keys;
      gradients.keys.block(draw * m, kv_head * d, seen, d).noalias() += scores.rightCols(seen).transpose() * asked;
      gradients.values.block(draw * m, kv_head * d, seen, d).noalias() +=
          attention.rightCols(seen).transpose() * output;
    }
  };
  RowMatrix output(m, queries.heads() * d);
  cached_attention(queries, cache, layer, scale, sliding_window, output, add_block);
  return gradients;
}

}  // namespace evictlab::runtime
