#include "sim/policy/future.hpp"

#include <array>

#include "core/parallel.hpp"

namespace evictlab::sim {

namespace {

// Eight running sums, then those as a tree: one order on every machine, and not one addition waiting for another.
double sum_of(std::span<const float> values) {
  std::array<double, 8> lanes{};
  std::size_t i = 0;
  for (; i + lanes.size() <= values.size(); i += lanes.size()) {
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) lanes[lane] += values[i + lane];
  }
  for (std::size_t lane = 0; i < values.size(); ++i, ++lane) lanes[lane] += values[i];
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

}  // namespace

trace::RowMatrix future_importance(const trace::LayerShape& shape, const trace::TensorView& mass,
                                   Granularity granularity) {
  const Index sets = set_count(granularity, shape);
  const Index heads_per_set = shape.query_heads / sets;
  trace::RowMatrix scores(sets, shape.prompt_length);
  core::parallel_for(static_cast<std::size_t>(sets), [&](std::size_t set) {
    Eigen::RowVectorXd sum = Eigen::RowVectorXd::Zero(shape.prompt_length);
    for (Index i = 0; i < heads_per_set; ++i) {
      const auto row = mass.float_row(static_cast<Index>(set) * heads_per_set + i, 0);
      const double total = sum_of(row);
      if (total <= 0.0) continue;
      const double factor = 1.0 / total;
      for (Index j = 0; j < sum.size(); ++j) sum[j] += double{row[static_cast<std::size_t>(j)]} * factor;
    }
    scores.row(static_cast<Index>(set)) = sum.cast<float>();
  });
  return scores;
}

}  // namespace evictlab::sim
