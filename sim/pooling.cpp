#include "sim/pooling.hpp"

#include <algorithm>

namespace evictlab::sim {

Eigen::RowVectorXd pooled(const Eigen::RowVectorXd& values, Index kernel, Pooling pooling) {
  if (kernel == 1) return values;
  const Index reach = kernel / 2;
  Eigen::RowVectorXd result(values.size());
  for (Index j = 0; j < values.size(); ++j) {
    const Index begin = std::max<Index>(0, j - reach);
    const auto near = values.segment(begin, std::min(values.size(), j + reach + 1) - begin);
    if (pooling == Pooling::kMax) {
      result[j] = near.maxCoeff();
    } else {
      double sum = 0.0;  // in order, so that equal neighbourhoods give equal scores
      for (const double value : near) sum += value;
      result[j] = sum / static_cast<double>(kernel);
    }
  }
  return result;
}

Eigen::RowVectorXd reduced(const std::vector<Eigen::RowVectorXd>& heads, Reduction reduction) {
  Eigen::RowVectorXd result = heads.front();
  for (std::size_t h = 1; h < heads.size(); ++h) {
    if (reduction == Reduction::kMax) {
      result = result.cwiseMax(heads[h]);
    } else {
      result += heads[h];
    }
  }
  if (reduction == Reduction::kMean) result /= static_cast<double>(heads.size());
  return result;
}

}  // namespace evictlab::sim
