#include "runtime/linear.hpp"

#include <algorithm>
#include <cmath>

#include "core/parallel.hpp"
#include "runtime/fixed_order_sum.hpp"

namespace evictlab::runtime {
namespace {

// Work is cut into tasks of this many rows of x and of W: enough arithmetic to pay for converting the
// weights once per task, small enough to stay in a core's cache and to give every thread something.
constexpr Index kTokenBlock = 256;
constexpr Index kOutputBlock = 64;

Index blocks(Index size, Index block) { return (size + block - 1) / block; }

}  // namespace

void apply(const Linear& linear, const Eigen::Ref<const RowMatrix>& x, Eigen::Ref<RowMatrix> y) {
  const WeightMatrix& weight = linear.weight;
  const Index token_blocks = blocks(x.rows(), kTokenBlock);
  const Index output_blocks = blocks(weight.rows(), kOutputBlock);
  core::parallel_for(static_cast<std::size_t>(token_blocks * output_blocks), [&](std::size_t task) {
    const Index token = static_cast<Index>(task) % token_blocks * kTokenBlock;
    const Index tokens = std::min(kTokenBlock, x.rows() - token);
    const Index output = static_cast<Index>(task) / token_blocks * kOutputBlock;
    const Index outputs = std::min(kOutputBlock, weight.rows() - output);
    RowMatrix block(outputs, weight.columns());
    weight.copy_rows(output, {block.data(), static_cast<std::size_t>(block.size())});
    auto target = y.block(token, output, tokens, outputs);
    target.noalias() = x.middleRows(token, tokens) * block.transpose();
    if (!linear.bias.empty()) {
      target.rowwise() += Eigen::Map<const Eigen::RowVectorXf>(linear.bias.data() + output, outputs);
    }
  });
}

void rms_norm(const Eigen::Ref<const RowMatrix>& x, std::span<const float> weight, double eps,
              Eigen::Ref<RowMatrix> y) {
  for (Index row = 0; row < x.rows(); ++row) {
    const float* in = x.row(row).data();
    const double squares =
        fixed_order_sum(x.cols(), [in](Index i) { return static_cast<double>(in[i]) * static_cast<double>(in[i]); });
    const auto factor = static_cast<float>(1.0 / std::sqrt(squares / static_cast<double>(x.cols()) + eps));
    float* out = y.row(row).data();
    for (Index i = 0; i < x.cols(); ++i) out[i] = in[i] * factor * weight[static_cast<std::size_t>(i)];
  }
}

void gate_with_silu(Eigen::Ref<RowMatrix> gate, const Eigen::Ref<const RowMatrix>& up) {
  gate.array() *= up.array() / (1.0F + (-gate.array()).exp());
}

}  // namespace evictlab::runtime
