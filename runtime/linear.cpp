#include "runtime/linear.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/aligned_floats.hpp"
#include "core/attention_kernels.hpp"
#include "core/parallel.hpp"
#include "runtime/fixed_order_sum.hpp"

namespace evictlab::runtime {
namespace {

// Rows of W that one task multiplies with few rows of x.
constexpr Index kOutputBlock = 64;

// Larger products are made of tiles, kQueryTile rows of W by kKeyTile rows of x. One task expands kTileOutputs rows of
// W and multiplies them with up to kTokenBlock rows of x: enough arithmetic to pay for expanding, few enough outputs to
// give every thread something. What is multiplied of kTileColumns columns stays in a core's second cache.
constexpr Index kOutputTile = core::kQueryTile;
constexpr Index kTokenTile = core::kKeyTile;
constexpr Index kTileOutputs = 4 * kOutputTile;
constexpr Index kTokenBlock = 22 * kTokenTile;
constexpr Index kTileColumns = 1024;

// So few rows of x are multiplied by the stored rows of W: a block of W as floats would be written and read again for
// little arithmetic.
constexpr Index kFewTokens = 8;

Index blocks(Index size, Index block) { return (size + block - 1) / block; }

/// apply() for kFewTokens rows of x at most: every row of W is multiplied as it is stored.
void apply_to_few(const Linear& linear, const Eigen::Ref<const RowMatrix>& x, Eigen::Ref<RowMatrix> y) {
  const WeightMatrix& weight = linear.weight;
  core::parallel_for(static_cast<std::size_t>(blocks(weight.rows(), kOutputBlock)), [&](std::size_t task) {
    const Index first = static_cast<Index>(task) * kOutputBlock;
    const Index outputs = std::min(kOutputBlock, weight.rows() - first);
    std::array<const std::byte*, kOutputBlock> rows;
    for (Index row = 0; row < outputs; ++row) {
      rows[static_cast<std::size_t>(row)] = weight.row(first + row).data();
    }
    for (Index token = 0; token < x.rows(); ++token) {
      const std::span<float> out(y.row(token).data() + first, static_cast<std::size_t>(outputs));
      core::multiply_rows(weight.type(), std::span(rows).first(out.size()),
                          {x.row(token).data(), static_cast<std::size_t>(x.cols())}, out);
      if (linear.bias.empty()) continue;
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += linear.bias[static_cast<std::size_t>(first) + i];
    }
  });
}

const core::AttentionKernels& tile_kernels() {
  static const core::AttentionKernels& chosen = *std::ranges::find_if(
      core::attention_kernels(), [](const core::AttentionKernels& kernels) { return kernels.supported; });
  return chosen;
}

/// Rows of x tile by tile, column after column: [tiles, in, kTokenTile], zeros behind the last row.
class TransposedTokens {
 public:
  explicit TransposedTokens(const Eigen::Ref<const RowMatrix>& x)
      : tiles_(blocks(x.rows(), kTokenTile)), tile_size_(kTokenTile * x.cols()), columns_(sizes(tiles_ * tile_size_)) {
    core::parallel_for(sizes(tiles_), [&](std::size_t task) {
      const Index first = static_cast<Index>(task) * kTokenTile;
      const Index rows = std::min(kTokenTile, x.rows() - first);
      RowMatrix tile = RowMatrix::Zero(kTokenTile, x.cols());
      tile.topRows(rows) = x.middleRows(first, rows);
      tile_kernels().transpose(tile.data(), sizes(x.cols()), columns_.data() + sizes(first * x.cols()));
    });
  }
  Index tiles() const { return tiles_; }
  /// Column `column` of the rows of a tile.
  const float* column(Index tile, Index column) const {
    return columns_.data() + sizes(tile * tile_size_ + column * kTokenTile);
  }

 private:
  static std::size_t sizes(Index size) { return static_cast<std::size_t>(size); }

  Index tiles_;
  Index tile_size_;
  core::AlignedFloats columns_;
};

/// Columns `column` to `column + size` of kOutputTile rows of W from `first` on, column after column:
/// `out` [size, kOutputTile], zeros behind the last row.
void expand_tile(const WeightMatrix& weight, Index first, Index column, Index size, RowMatrix& scratch, float* out) {
  const Index rows = std::min(kOutputTile, weight.rows() - first);
  for (Index row = 0; row < rows; ++row) {
    const std::size_t begin = core::stored_bytes(weight.type(), static_cast<std::size_t>(column));
    core::expand(weight.type(), weight.row(first + row).subspan(begin),
                 {scratch.row(row).data(), static_cast<std::size_t>(size)});
  }
  scratch.bottomRows(kOutputTile - rows).setZero();
  Eigen::Map<RowMatrix>(out, size, kOutputTile) = scratch.leftCols(size).transpose();
}

/// apply() for the `outputs` rows of W from `first` on. A sum runs over kTileColumns columns at a time, these sums are
/// added in order: the same bits for any number of tokens, threads and on any machine.
void apply_to_tiles(const Linear& linear, Index first, Index outputs, const TransposedTokens& x,
                    Eigen::Ref<RowMatrix> y) {
  const WeightMatrix& weight = linear.weight;
  const Index output_tiles = blocks(outputs, kOutputTile);
  constexpr auto kTileSize = static_cast<std::size_t>(kOutputTile * kTokenTile);
  RowMatrix scratch(kOutputTile, kTileColumns);
  core::AlignedFloats expanded(static_cast<std::size_t>(kTileOutputs * kTileColumns));
  core::AlignedFloats sums(kTileSize * static_cast<std::size_t>(output_tiles * x.tiles()));
  core::AlignedFloats part(kTileSize);
  for (Index column = 0; column < weight.columns(); column += kTileColumns) {
    const Index size = std::min(kTileColumns, weight.columns() - column);
    for (Index tile = 0; tile < output_tiles; ++tile) {
      expand_tile(weight, first + tile * kOutputTile, column, size, scratch,
                  expanded.data() + tile * kOutputTile * kTileColumns);
    }
    float* sum = sums.data();
    for (Index tokens = 0; tokens < x.tiles(); ++tokens) {
      for (Index tile = 0; tile < output_tiles; ++tile, sum += kTileSize) {
        tile_kernels().multiply(expanded.data() + tile * kOutputTile * kTileColumns, x.column(tokens, column),
                                static_cast<std::size_t>(size), part.data(), kTokenTile);
        for (std::size_t i = 0; i < kTileSize; ++i) sum[i] += part.data()[i];
      }
    }
  }
  const float* sum = sums.data();
  for (Index tokens = 0; tokens < x.tiles(); ++tokens) {
    const Index token = tokens * kTokenTile;
    for (Index tile = 0; tile < output_tiles; ++tile, sum += kTileSize) {
      const Index output = tile * kOutputTile;
      const Eigen::Map<const RowMatrix> tile_sums(sum, kOutputTile, kTokenTile);
      auto target = y.block(token, first + output, std::min(kTokenTile, y.rows() - token),
                            std::min(kOutputTile, outputs - output));
      target = tile_sums.topLeftCorner(target.cols(), target.rows()).transpose();
      if (linear.bias.empty()) continue;
      target.rowwise() += Eigen::Map<const Eigen::RowVectorXf>(linear.bias.data() + first + output, target.cols());
    }
  }
}

}  // namespace

void apply(const Linear& linear, const Eigen::Ref<const RowMatrix>& x, Eigen::Ref<RowMatrix> y) {
  if (x.rows() <= kFewTokens) {
    apply_to_few(linear, x, y);
    return;
  }
  const Index outputs = linear.weight.rows();
  for (Index token = 0; token < x.rows(); token += kTokenBlock) {
    const Index tokens = std::min(kTokenBlock, x.rows() - token);
    const TransposedTokens columns(x.middleRows(token, tokens));
    auto target = y.middleRows(token, tokens);
    core::parallel_for(static_cast<std::size_t>(blocks(outputs, kTileOutputs)), [&](std::size_t task) {
      const Index first = static_cast<Index>(task) * kTileOutputs;
      apply_to_tiles(linear, first, std::min(kTileOutputs, outputs - first), columns, target);
    });
  }
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
