#include "analysis/window_statistics.hpp"

#include <algorithm>
#include <array>

#include "analysis/stored_rows.hpp"
#include "core/parallel.hpp"

namespace evictlab::analysis {
namespace {

using trace::Index;

constexpr float kInsideLogarithm = 1e-10F;  // keeps ln finite at 0, as the authors' code has it

trace::TensorView window_rows(const trace::TensorView& attention, Index window, Index first, Index count) {
  return attention.row_range(attention.rows() - window, window).column_range(first, count);
}

// The sum in eight lanes, which are then added in order: fast, and the same on every machine.
double sum_of(std::span<const double> values) {
  std::array<double, 8> lanes{};
  const std::size_t whole = values.size() - values.size() % lanes.size();
  for (std::size_t i = 0; i < whole; i += lanes.size()) {
    for (std::size_t k = 0; k < lanes.size(); ++k) lanes[k] += values[i + k];
  }
  for (std::size_t i = whole; i < values.size(); ++i) lanes[i - whole] += values[i];
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

// The spread over some columns of one head, which are read twice, the second time from the cache.
AttentionSpread spread_of(const trace::TensorView& rows, Index head) {
  std::array<double, core::kColumnsAtOnce> first;
  std::array<double, core::kColumnsAtOnce> second;
  const auto columns = static_cast<std::size_t>(rows.columns());
  const auto logarithms = std::span(first).first(columns);
  const auto variances = std::span(second).first(columns);
  AttentionSpread spread;
  with_rows_of_head(rows, head, [&](const auto& stored, float factor) {
    core::column_moments(stored, static_cast<double>(factor), logarithms, variances);
    spread.shift = sum_of(variances);
    std::ranges::fill(logarithms, 0.0);
    core::add_column_logarithms(stored, factor, kInsideLogarithm, logarithms);
    spread.dispersion = -sum_of(logarithms);
  });
  return spread;
}

}  // namespace

void add_window_sums(const trace::TensorView& attention, Index head, Index window, Index first,
                     std::span<double> sums) {
  const trace::TensorView rows = window_rows(attention, window, first, static_cast<Index>(sums.size()));
  with_rows_of_head(rows, head, [&](const auto& stored, float factor) {
    core::add_column_sums(stored, static_cast<double>(factor), sums);
  });
}

WindowMoments window_moments(const trace::TensorView& attention, Index head, Index window, Index first, Index count) {
  WindowMoments moments{Eigen::RowVectorXd(count), Eigen::RowVectorXd(count)};
  with_rows_of_head(window_rows(attention, window, first, count), head, [&](const auto& stored, float factor) {
    const auto size = static_cast<std::size_t>(count);
    core::column_moments(stored, static_cast<double>(factor), {moments.mean.data(), size},
                         {moments.variance.data(), size});
  });
  return moments;
}

AttentionSpread attention_spread(const trace::TensorView& attention, Index window, Index first, Index count) {
  AttentionSpread spread;
  if (count <= 0 || window <= 0) return spread;
  constexpr auto kAtOnce = static_cast<Index>(core::kColumnsAtOnce);
  std::vector<AttentionSpread> heads(static_cast<std::size_t>(attention.heads()));
  core::parallel_for(heads.size(), [&](std::size_t head) {
    for (Index begin = 0; begin < count; begin += kAtOnce) {
      const trace::TensorView rows = window_rows(attention, window, first + begin, std::min(kAtOnce, count - begin));
      const AttentionSpread part = spread_of(rows, static_cast<Index>(head));
      heads[head].dispersion += part.dispersion;
      heads[head].shift += part.shift;
    }
  });
  for (const AttentionSpread& head : heads) {
    spread.dispersion += head.dispersion;
    spread.shift += head.shift;
  }
  spread.dispersion = std::max(0.0, spread.dispersion);
  return spread;
}

}  // namespace evictlab::analysis
