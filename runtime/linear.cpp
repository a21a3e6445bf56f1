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

// Larger products are made of tiles, kOutputTile rows of W by kTokenTile rows of x, whose sums run over kTileColumns
// columns at a time: so much of x stays in a core's first cache. Weights are expanded kExpandedColumns columns at a
// time, the largest block, of up to kTileOutputs rows of W for up to kTokenBlock rows of x: enough arithmetic to pay
// for expanding and for reading x, few enough sums for the second cache.
constexpr Index kOutputTile = core::kQueryTile;
constexpr Index kTokenTile = core::kKeyTile;
constexpr Index kTileSize = kOutputTile * kTokenTile;
constexpr Index kTileColumns = 128;
constexpr Index kExpandedColumns = 256;
constexpr Index kTileOutputs = 16 * kOutputTile;
constexpr Index kTokenBlock = 22 * kTokenTile;

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
    std::array<const std::byte*, kOutputBlock> room;
    const std::span rows = std::span(room).first(static_cast<std::size_t>(outputs));
    weight.find_rows(first, rows);
    for (Index token = 0; token < x.rows(); ++token) {
      const std::span<float> out(y.row(token).data() + first, static_cast<std::size_t>(outputs));
      core::multiply_rows(weight.type(), rows, {x.row(token).data(), static_cast<std::size_t>(x.cols())}, out);
      if (linear.bias.empty()) continue;
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += linear.bias[static_cast<std::size_t>(first) + i];
    }
  });
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
      core::fastest_attention_kernels().transpose(tile.data(), core::kKeyTile, sizes(x.cols()),
                                                  columns_.data() + first * x.cols());
    });
  }
  Index tiles() const { return tiles_; }
  /// Column `column` of the rows of a tile.
  const float* column(Index tile, Index column) const {
    return columns_.data() + tile * tile_size_ + column * kTokenTile;
  }

 private:
  static std::size_t sizes(Index size) { return static_cast<std::size_t>(size); }

  Index tiles_;
  Index tile_size_;
  core::AlignedFloats columns_;
};

/// Rows of W from `first` on by rows of x: the sums and what they need.
class OutputTiles {
 public:
  OutputTiles(const WeightMatrix& weight, Index first, Index outputs, const TransposedTokens& x)
      : weight_(weight),
        first_(first),
        outputs_(outputs),
        x_(x),
        tiles_(blocks(outputs, kOutputTile)),
        stored_(size(outputs)),
        rows_(size(kOutputTile * kExpandedColumns)),
        expanded_(size(tiles_ * kOutputTile * kExpandedColumns)),
        sums_(size(tiles_ * x.tiles() * kTileSize)) {
    weight.find_rows(first, stored_);
  }

  void multiply() {
    for (Index column = 0; column < weight_.columns(); column += kExpandedColumns) {
      const Index columns = std::min(kExpandedColumns, weight_.columns() - column);
      for (Index tile = 0; tile < tiles_; ++tile) expand_tile(tile, column, columns);
      for (Index begin = 0; begin < columns; begin += kTileColumns) {
        add_products(begin, std::min(kTileColumns, columns - begin), column);
      }
    }
  }

  /// Writes the sums to columns first to first + outputs of `y`.
  void store(Eigen::Ref<RowMatrix> y, const std::vector<float>& bias) {
    core::AlignedFloats transposed(size(kTileSize));
    float* const by_token = transposed.data();  // [kTokenTile, kOutputTile]
    for (Index tokens = 0; tokens < x_.tiles(); ++tokens) {
      const Index token = tokens * kTokenTile;
      for (Index tile = 0; tile < tiles_; ++tile) {
        core::fastest_attention_kernels().transpose(sums(tokens, tile), core::kQueryTile, core::kKeyTile, by_token);
        const Index output = first_ + tile * kOutputTile;
        const Index count = std::min(kOutputTile, first_ + outputs_ - output);
        for (Index row = token; row < std::min(token + kTokenTile, y.rows()); ++row) {
          float* const out = y.row(row).data() + output;
          const float* const from = by_token + (row - token) * kOutputTile;
          for (Index i = 0; i < count; ++i) {
            out[i] = bias.empty() ? from[i] : from[i] + bias[size(output + i)];
          }
        }
      }
    }
  }

 private:
  static std::size_t size(Index count) { return static_cast<std::size_t>(count); }
  float* sums(Index tokens, Index tile) { return sums_.data() + (tokens * tiles_ + tile) * kTileSize; }
  float* expanded(Index tile) { return expanded_.data() + tile * kOutputTile * kExpandedColumns; }

  /// `columns` columns of a tile's rows of W from `column` on, column after column: zeros behind the last row.
  void expand_tile(Index tile, Index column, Index columns) {
    const std::size_t offset = core::stored_bytes(weight_.type(), size(column));
    const Index rows = std::min(kOutputTile, outputs_ - tile * kOutputTile);
    for (Index row = 0; row < rows; ++row) {
      core::expand(
          weight_.type(),
          {stored_[size(tile * kOutputTile + row)] + offset, core::stored_bytes(weight_.type(), size(columns))},
          {rows_.data() + row * columns, size(columns)});
    }
    std::fill(rows_.data() + rows * columns, rows_.data() + kOutputTile * columns, 0.0F);
    core::fastest_attention_kernels().transpose(rows_.data(), core::kQueryTile, size(columns), expanded(tile));
  }

  /// Adds the products over `columns` expanded columns from `begin` on, of which the first is W's column `column`.
  void add_products(Index begin, Index columns, Index column) {
    for (Index tokens = 0; tokens < x_.tiles(); ++tokens) {
      for (Index tile = 0; tile < tiles_; ++tile) {
        core::fastest_attention_kernels().multiply(expanded(tile) + begin * kOutputTile,
                                                   x_.column(tokens, column + begin), size(columns), sums(tokens, tile),
                                                   core::kKeyTile);
      }
    }
  }

  const WeightMatrix& weight_;
  Index first_;
  Index outputs_;
  const TransposedTokens& x_;
  Index tiles_;
  std::vector<const std::byte*> stored_;  // [outputs]
  core::AlignedFloats rows_;              // [kOutputTile, columns]
  core::AlignedFloats expanded_;          // [tiles, kExpandedColumns, kOutputTile]
  core::AlignedFloats sums_;              // [token tiles, tiles, kOutputTile, kTokenTile]
};

/// How many of `outputs` rows of W one task takes: a few tasks for every thread. Sums do not depend on it.
Index outputs_of_a_task(Index outputs) {
  const Index tasks = 4 * static_cast<Index>(core::threads());
  return std::min(kTileOutputs, blocks(blocks(outputs, tasks), kOutputTile) * kOutputTile);
}

}  // namespace

void apply(const Linear& linear, const Eigen::Ref<const RowMatrix>& x, Eigen::Ref<RowMatrix> y) {
  if (x.rows() <= kFewTokens) {
    apply_to_few(linear, x, y);
    return;
  }
  const Index outputs = linear.weight.rows();
  const Index outputs_at_once = outputs_of_a_task(outputs);
  for (Index token = 0; token < x.rows(); token += kTokenBlock) {
    const Index tokens = std::min(kTokenBlock, x.rows() - token);
    const TransposedTokens transposed(x.middleRows(token, tokens));
    core::parallel_for(static_cast<std::size_t>(blocks(outputs, outputs_at_once)), [&](std::size_t task) {
      const Index first = static_cast<Index>(task) * outputs_at_once;
      OutputTiles tiles(linear.weight, first, std::min(outputs_at_once, outputs - first), transposed);
      tiles.multiply();
      tiles.store(y.middleRows(token, tokens), linear.bias);
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
