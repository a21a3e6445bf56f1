#include "sim/policy/pooling.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/parallel.hpp"

namespace evictlab::sim {
namespace {

constexpr Index kPositionsAtOnce = 1024;  // what is done several times to them is done in the first cache

// near[i] = max of near[i] ... near[i + kernel - 1], for all i where these exist: maxima over 1, 2, 4, ... values, then
// over two stretches that overlap.
void pool_maximum(Eigen::RowVectorXd& near, Index kernel) {
  Eigen::RowVectorXd merged(near.size());
  const auto merge = [&](Index count, Index distance) {
    merged.head(count) = near.head(count).cwiseMax(near.segment(distance, count));
    near.swap(merged);
  };
  Index width = 1;
  for (; 2 * width <= kernel; width *= 2) merge(near.size() - (2 * width - 1), width);
  if (width < kernel) merge(near.size() - (kernel - 1), kernel - width);
}

}  // namespace

ParameterList pooling_parameters() {
  ParameterList parameters;
  return parameters.integer("kernel", 7, {1, 255, true}, "positions pooled over")
      .choice("pooling", {"max", "avg"}, "what a position gets of its neighbours");
}

Pooling pooling_from(const Parameters& parameters) {
  return parameters.choice("pooling") == "avg" ? Pooling::kAverage : Pooling::kMax;
}

Parameter reduction_parameter() {
  return {"reduction", std::string("mean"), Choices{{"mean", "max", "sum"}},
          "over the query heads of a kv head (axis=kv)"};
}

Reduction reduction_from(const Parameters& parameters) {
  const std::string& name = parameters.choice("reduction");
  return name == "mean" ? Reduction::kMean : name == "max" ? Reduction::kMax : Reduction::kSum;
}

Eigen::RowVectorXd pooled(const Eigen::RowVectorXd& values, Index kernel, Pooling pooling) {
  if (kernel == 1) return values;
  const Index reach = kernel / 2;
  const double padding = pooling == Pooling::kMax ? -std::numeric_limits<double>::infinity() : 0.0;
  Eigen::RowVectorXd result(values.size());
  Eigen::RowVectorXd near(kPositionsAtOnce + kernel - 1);
  for (Index begin = 0; begin < values.size(); begin += kPositionsAtOnce) {
    const Index count = std::min(kPositionsAtOnce, values.size() - begin);
    const Index from = std::max<Index>(0, begin - reach);
    const Index to = std::min(values.size(), begin + count + reach);
    near.setConstant(padding);
    near.segment(from - (begin - reach), to - from) = values.segment(from, to - from);
    if (pooling == Pooling::kMax) {
      pool_maximum(near, kernel);
      result.segment(begin, count) = near.head(count);
    } else {
      auto sum = result.segment(begin, count);
      sum.setZero();
      for (Index k = 0; k < kernel; ++k) sum += near.segment(k, count);
    }
  }
  if (pooling == Pooling::kAverage) result /= static_cast<double>(kernel);
  return result;
}

Eigen::RowVectorXd reduced(Index heads, Reduction reduction, const std::function<Eigen::RowVectorXd(Index)>& vote) {
  std::vector<Eigen::RowVectorXd> votes(static_cast<std::size_t>(heads));
  core::parallel_for(votes.size(), [&](std::size_t head) { votes[head] = vote(static_cast<Index>(head)); });
  Eigen::RowVectorXd result = std::move(votes.front());
  for (std::size_t h = 1; h < votes.size(); ++h) {
    if (reduction == Reduction::kMax) {
      result = result.cwiseMax(votes[h]);
    } else {
      result += votes[h];
    }
  }
  if (reduction == Reduction::kMean) result /= static_cast<double>(heads);
  return result;
}

}  // namespace evictlab::sim
