#include "analysis/rank_correlation.hpp"

#include <cmath>
#include <cstdint>
#include <stdexcept>

#include "core/select.hpp"

namespace evictlab::analysis {

std::vector<double> average_ranks(std::span<const float> values) {
  const std::vector<std::uint32_t> order = core::argsort_descending(values);
  std::vector<double> ranks(values.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    // Ranks begin + 1 ... end.
    const double mean = 0.5 * static_cast<double>(begin + 1 + end);
    for (std::size_t i = begin; i < end; ++i) ranks[order[i]] = mean;
    begin = end;
  }
  return ranks;
}

double spearman(std::span<const double> ranks_a, std::span<const double> ranks_b) {
  if (ranks_a.size() != ranks_b.size()) throw std::invalid_argument("rank correlation of different numbers of values");
  const double middle = 0.5 * (static_cast<double>(ranks_a.size()) + 1.0);
  double squares_a = 0.0;
  double squares_b = 0.0;
  double products = 0.0;
  for (std::size_t i = 0; i < ranks_a.size(); ++i) {
    const double a = ranks_a[i] - middle;
    const double b = ranks_b[i] - middle;
    squares_a += a * a;
    squares_b += b * b;
    products += a * b;
  }
  return squares_a > 0.0 && squares_b > 0.0 ? products / std::sqrt(squares_a * squares_b) : 0.0;
}

}  // namespace evictlab::analysis
