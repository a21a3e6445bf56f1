#include "results/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace evictlab::results {
namespace {

/// Uniform in 0..bound-1: values that would favour small remainders are drawn again.
std::uint64_t random_index(core::SplitMix64& random, std::uint64_t bound) {
  const std::uint64_t limit = std::uint64_t(-1) - std::uint64_t(-1) % bound;
  std::uint64_t value = random.next();
  while (value >= limit) value = random.next();
  return value % bound;
}

void require_values(std::span<const double> values) {
  if (values.empty()) throw std::invalid_argument("a statistic of no values");
}

double resampled_mean(std::span<const double> values, core::SplitMix64& random) {
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) sum += values[random_index(random, values.size())];
  return sum / static_cast<double>(values.size());
}

}  // namespace

void shuffle(std::vector<std::size_t>& items, core::SplitMix64& random) {
  for (std::size_t i = items.size(); i-- > 1;) {
    std::swap(items[i], items[static_cast<std::size_t>(random.uniform() * static_cast<double>(i + 1))]);
  }
}

double mean(std::span<const double> values) {
  require_values(values);
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double quantile(std::span<const double> values, double q) {
  require_values(values);
  if (!(q >= 0 && q <= 1)) throw std::invalid_argument("a quantile outside 0..1");
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const double rank = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(rank);
  if (below + 1 == sorted.size()) return sorted.back();
  return std::lerp(sorted[below], sorted[below + 1], rank - static_cast<double>(below));
}

Interval bootstrap_mean(std::span<const double> values, const BootstrapOptions& options) {
  require_values(values);
  if (options.resamples == 0) throw std::invalid_argument("a bootstrap of no resamples");
  if (values.size() == 1) return {.mean = values.front()};
  core::SplitMix64 random(options.seed);
  std::vector<double> means(options.resamples);
  for (double& resampled : means) resampled = resampled_mean(values, random);
  const double tail = (1 - options.confidence) / 2;
  return {mean(values), quantile(means, tail), quantile(means, 1 - tail)};
}

Interval bootstrap_paired_difference(std::span<const double> a, std::span<const double> b,
                                     const BootstrapOptions& options) {
  if (a.size() != b.size()) throw std::invalid_argument("paired values of different numbers");
  std::vector<double> differences(a.size());
  std::transform(a.begin(), a.end(), b.begin(), differences.begin(), std::minus<>());
  return bootstrap_mean(differences, options);
}

Interval bootstrap_difference(std::span<const double> a, std::span<const double> b, const BootstrapOptions& options) {
  require_values(a);
  require_values(b);
  if (options.resamples == 0) throw std::invalid_argument("a bootstrap of no resamples");
  if (std::min(a.size(), b.size()) == 1) return {.mean = mean(a) - mean(b)};
  core::SplitMix64 random(options.seed);
  std::vector<double> differences(options.resamples);
  for (double& difference : differences) {
    difference = resampled_mean(a, random);
    difference -= resampled_mean(b, random);
  }
  const double tail = (1 - options.confidence) / 2;
  return {mean(a) - mean(b), quantile(differences, tail), quantile(differences, 1 - tail)};
}

}  // namespace evictlab::results
