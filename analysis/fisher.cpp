#include "analysis/fisher.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <stdexcept>

#include "core/fixed_blocking.hpp"
#include "core/parallel.hpp"

namespace evictlab::analysis {

using trace::Index;
using trace::RowMatrix;

FisherKl fisher_kl(std::span<const double> sums, Index queries) {
  const auto draws = static_cast<double>(sums.size());
  const double unit = 2.0 * static_cast<double>(queries);
  FisherKl result;
  for (const double sum : sums) result.kl += sum * sum / unit / draws;
  if (sums.size() < 2) return result;
  double squares = 0;
  for (const double sum : sums) {
    const double deviation = sum * sum / unit - result.kl;
    squares += deviation * deviation;
  }
  result.error = std::sqrt(squares / (draws - 1.0) / draws);
  return result;
}

HeadGradients::HeadGradients(const trace::LayerShape& shape, const trace::TensorView& gradients,
                             const RowMatrix& output_weight)
    : queries_(shape.future_length) {
  core::use_fixed_blocking();
  const Index columns = shape.query_heads * shape.head_dim;
  if (gradients.rows() != queries_ || gradients.columns() != output_weight.cols() || output_weight.rows() != columns) {
    throw std::invalid_argument(
        fmt::format("gradients [{}, {}, {}] of {} queries do not fit W_O [{}, {}] of {} heads of {}", gradients.heads(),
                    gradients.rows(), gradients.columns(), queries_, output_weight.rows(), output_weight.cols(),
                    shape.query_heads, shape.head_dim));
  }
  for (Index draw = 0; draw < gradients.heads(); ++draw) projected_.emplace_back(queries_, columns);
  core::parallel_for(projected_.size(), [&](std::size_t draw) {
    const RowMatrix own = gradients.copy_head(static_cast<Index>(draw)) * output_weight.transpose();
    for (Index column = 0; column < columns; ++column) {
      for (Index t = 0; t < queries_; ++t) {
        projected_[draw].tile(t / TiledRows::kRows, column)[t % TiledRows::kRows] = own(t, column);
      }
    }
  });
}

FisherLoss HeadGradients::loss(const TiledRows& differences) const {
  constexpr auto kRows = static_cast<std::size_t>(TiledRows::kRows);
  FisherLoss result;
  const double unit = 2.0 * static_cast<double>(queries_) * static_cast<double>(projected_.size());
  for (const TiledRows& gradients : projected_) {
    double sum = 0;
    for (Index tile = 0; tile < gradients.tiles(); ++tile) {
      std::array<double, kRows> products{};  // rows that fill the last tile up are zero
      for (Index column = 0; column < gradients.columns(); ++column) {
        const float* const gradient = gradients.tile(tile, column);
        const float* const difference = differences.tile(tile, column);
        for (std::size_t r = 0; r < kRows; ++r) products[r] += double{gradient[r]} * double{difference[r]};
      }
      for (const double product : products) {
        sum += product;
        result.loss += product * product / unit;
      }
    }
    result.sums.push_back(sum);
  }
  return result;
}

double HeadGradients::head_loss(Index kv_head, const Eigen::Ref<const RowMatrix>& differences) const {
  const Index first = kv_head * differences.cols();
  double loss = 0;
  for (const TiledRows& gradients : projected_) {
    for (Index t = 0; t < queries_; ++t) {
      const float* gradient = gradients.tile(t / TiledRows::kRows, first) + t % TiledRows::kRows;
      double product = 0;
      for (Index column = 0; column < differences.cols(); ++column, gradient += TiledRows::kRows) {
        product += double{*gradient} * double{differences(t, column)};
      }
      loss += product * product;
    }
  }
  return loss / (2.0 * static_cast<double>(queries_) * static_cast<double>(projected_.size()));
}

}  // namespace evictlab::analysis
