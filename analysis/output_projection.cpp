#include "analysis/output_projection.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/parallel.hpp"

namespace evictlab::analysis {

using trace::Index;

namespace {

constexpr std::size_t kTileSize = core::kQueryTile * core::kKeyTile;

// Element i is added to lane i % kNormLanes: sums in a fixed order that a compiler can make vectors of.
constexpr std::size_t kNormLanes = 16;

void add_norms(const float* values, std::array<double, kNormLanes>& absolute, std::array<double, kNormLanes>& squared) {
  for (std::size_t i = 0; i < core::kKeyTile; i += kNormLanes) {
    for (std::size_t lane = 0; lane < kNormLanes; ++lane) {
      const double value = values[i + lane];
      absolute[lane] += std::abs(value);
      squared[lane] += value * value;
    }
  }
}

double sum_of(const std::array<double, kNormLanes>& lanes) {
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

OutputProjection::OutputProjection(const trace::RowMatrix& output_weight)
    : rows_(output_weight.rows()),
      panels_((output_weight.cols() + kColumns - 1) / kColumns),
      weights_(static_cast<std::size_t>(panels_ * rows_ * kColumns)) {
  for (Index panel = 0; panel < panels_; ++panel) {
    const Index first = panel * kColumns;
    const Index count = std::min(kColumns, output_weight.cols() - first);
    float* to = weights_.data() + panel * rows_ * kColumns;
    for (Index row = 0; row < rows_; ++row, to += kColumns) {
      std::copy_n(output_weight.data() + row * output_weight.cols() + first, count, to);
    }
  }
}

MatrixNorms OutputProjection::panel_norms(Index panel, const TiledRows& matrix, std::span<float> products) const {
  const core::AttentionKernels& kernels = core::fastest_attention_kernels();
  std::ranges::fill(products, 0.0F);
  for (Index row = 0; row < rows_; row += kDepth) {
    const float* weights = weights_.data() + (panel * rows_ + row) * kColumns;
    const auto depth = static_cast<std::size_t>(std::min(kDepth, rows_ - row));
    for (Index tile = 0; tile < matrix.tiles(); ++tile) {
      float* sums = products.data() + static_cast<std::size_t>(tile) * kTileSize;
      kernels.multiply(matrix.tile(tile, row), weights, depth, sums, core::kKeyTile);
    }
  }
  std::array<double, kNormLanes> absolute{};
  MatrixNorms norms;
  const auto rows = static_cast<std::size_t>(matrix.tiles() * TiledRows::kRows);
  for (std::size_t row = 0; row < rows; ++row) {
    std::array<double, kNormLanes> squared{};
    add_norms(products.data() + row * core::kKeyTile, absolute, squared);
    norms.squared.push_back(sum_of(squared));
  }
  norms.absolute = sum_of(absolute);
  return norms;
}

std::vector<MatrixNorms> OutputProjection::norms(std::span<const TiledRows> matrices) const {
  std::vector<MatrixNorms> norms(matrices.size());
  if (matrices.empty()) return norms;
  std::vector<MatrixNorms> parts(static_cast<std::size_t>(panels_) * matrices.size());
  core::parallel_for(static_cast<std::size_t>(panels_), [&](std::size_t panel) {
    std::vector<float> products;
    for (std::size_t m = 0; m < matrices.size(); ++m) {
      products.resize(static_cast<std::size_t>(matrices[m].tiles()) * kTileSize);
      parts[panel * matrices.size() + m] = panel_norms(static_cast<Index>(panel), matrices[m], products);
    }
  });
  for (std::size_t i = 0; i < parts.size(); ++i) {
    MatrixNorms& sum = norms[i % matrices.size()];
    sum.absolute += parts[i].absolute;
    sum.squared.resize(parts[i].squared.size(), 0.0);
    for (std::size_t row = 0; row < sum.squared.size(); ++row) sum.squared[row] += parts[i].squared[row];
  }
  return norms;
}

}  // namespace evictlab::analysis
