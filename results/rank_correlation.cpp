#include "results/rank_correlation.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>

#include "core/select.hpp"

namespace evictlab::results {

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

double kendall_tau_b(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size()) throw std::invalid_argument("rank correlation of different numbers of values");
  const auto sign = [](double x, double y) { return (x < y ? 1 : 0) - (x > y ? 1 : 0); };
  long agreeing = 0;  // pairs in the same order less those in the opposite
  long ordered_a = 0;
  long ordered_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const int in_a = sign(a[j], a[i]);
      const int in_b = sign(b[j], b[i]);
      agreeing += in_a * in_b;
      ordered_a += in_a != 0 ? 1 : 0;
      ordered_b += in_b != 0 ? 1 : 0;
    }
  }
  if (ordered_a == 0 || ordered_b == 0) return 0.0;
  return static_cast<double>(agreeing) / std::sqrt(static_cast<double>(ordered_a) * static_cast<double>(ordered_b));
}

double spearman_of_values(std::span<const double> a, std::span<const double> b) {
  const auto ranks = [](std::span<const double> values) {
    // Policies are few: a rank is one more than how many are below, ties sharing the middle.
    std::vector<double> result;
    for (const double value : values) {
      const auto below = std::count_if(values.begin(), values.end(), [value](double other) { return other < value; });
      const auto equal = std::count(values.begin(), values.end(), value);
      result.push_back(static_cast<double>(below) + 0.5 * static_cast<double>(equal + 1));
    }
    return result;
  };
  return spearman(ranks(a), ranks(b));
}

}  // namespace evictlab::results
