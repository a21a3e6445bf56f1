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

std::size_t size_of(Index count) { return static_cast<std::size_t>(count); }

/// Rows of W from `first` on as the outputs of a product: sums run over W's columns.
class WeightRows {
 public:
  WeightRows(const WeightMatrix& weight, Index first, Index outputs)
      : weight_(weight), stored_(size_of(outputs)), rows_(size_of(kOutputTile * kExpandedColumns)) {
    weight.find_rows(first, stored_);
  }
  static Index terms(const WeightMatrix& weight) { return weight.columns(); }

  /// Terms `term` ... of the outputs of every tile, term after term: zeros behind the last output. A tile has room for
  /// kExpandedColumns terms.
  void expand(Index term, Index terms, float* tiles) {
    const std::size_t offset = core::stored_bytes(weight_.type(), size_of(term));
    for (Index first = 0; first < std::ssize(stored_); first += kOutputTile) {
      const Index rows = std::min(kOutputTile, std::ssize(stored_) - first);
      for (Index row = 0; row < rows; ++row) {
        core::expand(weight_.type(),
                     {stored_[size_of(first + row)] + offset, core::stored_bytes(weight_.type(), size_of(terms))},
                     {rows_.data() + row * terms, size_of(terms)});
      }
      std::fill(rows_.data() + rows * terms, rows_.data() + kOutputTile * terms, 0.0F);
      core::fastest_attention_kernels().transpose(rows_.data(), core::kQueryTile, size_of(terms),
                                                  tiles + first * kExpandedColumns);
    }
  }

 private:
  const WeightMatrix& weight_;
  std::vector<const std::byte*> stored_;  // [outputs]
  core::AlignedFloats rows_;              // [kOutputTile, terms]
};

/// Columns of W from `first` on as the outputs of a product: sums run over W's rows. `first` begins a block of stored
/// numbers.
class WeightColumns {
 public:
  WeightColumns(const WeightMatrix& weight, Index first, Index outputs)
      : weight_(weight),
        offset_(core::stored_bytes(weight.type(), size_of(first))),
        outputs_(outputs),
        row_(size_of(blocks(outputs, kOutputTile) * kOutputTile)) {}
  static Index terms(const WeightMatrix& weight) { return weight.rows(); }

  void expand(Index term, Index terms, float* tiles) {
    std::array<const std::byte*, kExpandedColumns> starts;
    weight_.find_rows(term, std::span(starts).first(size_of(terms)));
    for (Index i = 0; i < terms; ++i) {
      core::expand(weight_.type(),
                   {starts[size_of(i)] + offset_, core::stored_bytes(weight_.type(), size_of(outputs_))},
                   {row_.data(), size_of(outputs_)});
      for (Index first = 0; first < outputs_; first += kOutputTile) {
        std::copy_n(row_.data() + first, kOutputTile, tiles + first * kExpandedColumns + i * kOutputTile);
      }
    }
  }

 private:
  const WeightMatrix& weight_;
  std::size_t offset_;
  Index outputs_;
  core::AlignedFloats row_;  // [outputs], zeros behind them
};

/// Outputs by rows of x: the sums and what they need. `Weights` is WeightRows or WeightColumns.
template <typename Weights>
class OutputTiles {
 public:
  OutputTiles(const WeightMatrix& weight, Index first, Index outputs, const TransposedTokens& x)
      : weights_(weight, first, outputs),
        terms_(Weights::terms(weight)),
        first_(first),
        outputs_(outputs),
        x_(x),
        tiles_(blocks(outputs, kOutputTile)),
        expanded_(size_of(tiles_ * kOutputTile * kExpandedColumns)),
        sums_(size_of(tiles_ * x.tiles() * kTileSize)) {}

  void multiply() {
    for (Index term = 0; term < terms_; term += kExpandedColumns) {
      const Index terms = std::min(kExpandedColumns, terms_ - term);
      weights_.expand(term, terms, expanded_.data());
      for (Index begin = 0; begin < terms; begin += kTileColumns) {
        add_products(begin, std::min(kTileColumns, terms - begin), term);
      }
    }
  }

  /// Writes the sums to columns first to first + outputs of `y`.
  void store(Eigen::Ref<RowMatrix> y, const std::vector<float>& bias) {
    core::AlignedFloats transposed(size_of(kTileSize));
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
            out[i] = bias.empty() ? from[i] : from[i] + bias[size_of(output + i)];
          }
        }
      }
    }
  }

 private:
  float* sums(Index tokens, Index tile) { return sums_.data() + (tokens * tiles_ + tile) * kTileSize; }
  float* expanded(Index tile) { return expanded_.data() + tile * kOutputTile * kExpandedColumns; }

  /// Adds the products over `terms` expanded terms from `begin` on, the first expanded one being the product's `term`.
  void add_products(Index begin, Index terms, Index term) {
    for (Index tokens = 0; tokens < x_.tiles(); ++tokens) {
      for (Index tile = 0; tile < tiles_; ++tile) {
        core::fastest_attention_kernels().multiply(expanded(tile) + begin * kOutputTile,
                                                   x_.column(tokens, term + begin), size_of(terms), sums(tokens, tile),
                                                   core::kKeyTile);
      }
    }
  }

  Weights weights_;
  Index terms_;
  Index first_;
  Index outputs_;
  const TransposedTokens& x_;
  Index tiles_;
  core::AlignedFloats expanded_;  // [tiles, kExpandedColumns, kOutputTile]
  core::AlignedFloats sums_;      // [token tiles, tiles, kOutputTile, kTokenTile]
};

/// How many of `outputs` rows of W one task takes: a few tasks for every thread. Sums do not depend on it.
Index outputs_of_a_task(Index outputs) {
  const Index tasks = 4 * static_cast<Index>(core::threads());
  return std::min(kTileOutputs, blocks(blocks(outputs, tasks), kOutputTile) * kOutputTile);
}

/// y = x W^T + b, or x W without a bias, in tiles.
template <typename Weights>
void multiply_in_tiles(const WeightMatrix& weight, Index outputs, Index outputs_at_once,
                       const Eigen::Ref<const RowMatrix>& x, const std::vector<float>& bias, Eigen::Ref<RowMatrix> y) {
  for (Index token = 0; token < x.rows(); token += kTokenBlock) {
    const Index tokens = std::min(kTokenBlock, x.rows() - token);
    const TransposedTokens transposed(x.middleRows(token, tokens));
    core::parallel_for(static_cast<std::size_t>(blocks(outputs, outputs_at_once)), [&](std::size_t task) {
      const Index first = static_cast<Index>(task) * outputs_at_once;
      OutputTiles<Weights> tiles(weight, first, std::min(outputs_at_once, outputs - first), transposed);
      tiles.multiply();
      tiles.store(y.middleRows(token, tokens), bias);
    });
  }
}

}  // namespace

void apply(const Linear& linear, const Eigen::Ref<const RowMatrix>& x, Eigen::Ref<RowMatrix> y) {
  if (x.rows() <= kFewTokens) {
    apply_to_few(linear, x, y);
    return;
  }
  const Index outputs = linear.weight.rows();
  multiply_in_tiles<WeightRows>(linear.weight, outputs, outputs_of_a_task(outputs), x, linear.bias, y);
}

void apply_transposed(const WeightMatrix& weight, const Eigen::Ref<const RowMatrix>& x, Eigen::Ref<RowMatrix> y) {
  // Whole blocks of stored numbers, so never fewer than the largest has.
  multiply_in_tiles<WeightColumns>(weight, weight.columns(), kExpandedColumns, x, {}, y);
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
