#include "analysis/window_statistics.hpp"

#include <algorithm>

namespace evictlab::analysis {
namespace {

using trace::Index;

constexpr float kInsideLogarithm = 1e-10F;  // keeps ln finite at 0, as the authors' code has it

// Sums over a head's rows of the distances from its first row, which lose no digits to a large mean and are
// exactly 0 where the weight never changes.
class Deviations {
 public:
  Deviations(const trace::TensorView& attention, Index window, Index first, Index count)
      : rows_(attention.row_range(attention.rows() - window, window).column_range(first, count)),
        row_(count),
        current_(count),
        origin_(count),
        sum_(count),
        squares_(count) {}

  template <typename Visit>
  void gather(Index head, const Visit& visit) {
    sum_.setZero();
    squares_.setZero();
    for (Index t = 0; t < rows_.rows(); ++t) {
      rows_.copy_row(head, t, {row_.data(), static_cast<std::size_t>(row_.size())});
      current_ = row_.cast<double>();
      visit(row_);
      if (t == 0) {
        origin_ = current_;
        continue;
      }
      current_ -= origin_;
      sum_ += current_;
      squares_ += current_.square();
    }
  }

  Eigen::ArrayXd mean() const { return origin_ + sum_ / count(); }
  Eigen::ArrayXd variance() const {
    return ((squares_ - sum_.square() / count()) / std::max(1.0, count() - 1.0)).max(0.0);
  }

 private:
  double count() const { return static_cast<double>(rows_.rows()); }

  trace::TensorView rows_;
  Eigen::ArrayXf row_;
  Eigen::ArrayXd current_, origin_, sum_, squares_;
};

}  // namespace

WindowMoments window_moments(const trace::TensorView& attention, Index head, Index window, Index first, Index count) {
  Deviations deviations(attention, window, first, count);
  deviations.gather(head, [](const Eigen::ArrayXf&) {});
  return {deviations.mean().matrix().transpose(), deviations.variance().matrix().transpose()};
}

AttentionSpread attention_spread(const trace::TensorView& attention, Index window, Index first, Index count) {
  AttentionSpread spread;
  if (count <= 0 || window <= 0) return spread;
  Deviations deviations(attention, window, first, count);
  Eigen::ArrayXf terms(count);
  for (Index head = 0; head < attention.heads(); ++head) {
    // Logarithms of floats, a relative error of 1e-7 each; into an array of their own, for a converting sum of them
    // is not vectorised.
    deviations.gather(head, [&](const Eigen::ArrayXf& weights) {
      terms = weights * (weights + kInsideLogarithm).log();
      spread.dispersion -= terms.cast<double>().sum();
    });
    spread.shift += deviations.variance().sum();
  }
  spread.dispersion = std::max(0.0, spread.dispersion);
  return spread;
}

}  // namespace evictlab::analysis
