#include "runtime/linear.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/parallel.hpp"
#include "runtime/fixed_order_sum.hpp"

namespace evictlab::runtime {
namespace {

// Work is cut into tasks of this many rows of x and of W: enough arithmetic to pay for converting the
// weights once per task, small enough to stay in a core's cache and to give every thread something.
constexpr Index kTokenBlock = 256;
constexpr Index kOutputBlock = 64;

// So few rows of x are multiplied by one row of W after the other: a block of W as floats would be written and read
// again for little arithmetic, while one row stays in the fastest cache.
constexpr Index kFewTokens = 8;

Index blocks(Index size, Index block) { return (size + block - 1) / block; }

/// a . b as 32 interleaved partial sums, added up in order: the same on any machine.
float dot(const float* a, const float* b, Index size) {
  constexpr Index kLanes = 32;
  float lanes[kLanes] = {};
  Index i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (Index lane = 0; lane < kLanes; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
  }
  for (; i < size; ++i) lanes[i % kLanes] += a[i] * b[i];
  for (Index half = kLanes / 2; half > 0; half /= 2) {
    for (Index lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

/// A row of floats as it lies in memory, or null where it is of another type or not aligned.
const float* floats_in_place(const WeightMatrix& weight, Index row) {
  if (weight.type() != core::StorageType::kFloat32) return nullptr;
  const std::byte* const bytes = weight.row(row).data();
  const bool aligned = reinterpret_cast<std::uintptr_t>(bytes) % alignof(float) == 0;
  return aligned ? reinterpret_cast<const float*>(bytes) : nullptr;
}

/// apply() for kFewTokens rows of x at most: reads W once and converts it row by row.
void apply_to_few(const Linear& linear, const Eigen::Ref<const RowMatrix>& x, Eigen::Ref<RowMatrix> y) {
  const WeightMatrix& weight = linear.weight;
  core::parallel_for(static_cast<std::size_t>(blocks(weight.rows(), kOutputBlock)), [&](std::size_t task) {
    const Index first = static_cast<Index>(task) * kOutputBlock;
    std::vector<float> converted(static_cast<std::size_t>(weight.columns()));
    for (Index row = first; row < std::min(first + kOutputBlock, weight.rows()); ++row) {
      const float* values = floats_in_place(weight, row);
      if (values == nullptr) {
        weight.copy_rows(row, converted);
        values = converted.data();
      }
      const float bias = linear.bias.empty() ? 0.0F : linear.bias[static_cast<std::size_t>(row)];
      for (Index token = 0; token < x.rows(); ++token) {
        y(token, row) = dot(x.row(token).data(), values, weight.columns()) + bias;
      }
    }
  });
}

}  // namespace

void apply(const Linear& linear, const Eigen::Ref<const RowMatrix>& x, Eigen::Ref<RowMatrix> y) {
  if (x.rows() <= kFewTokens) {
    apply_to_few(linear, x, y);
    return;
  }
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
