#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/random.hpp"

namespace evictlab::results {

/// Throws std::invalid_argument when there are no values.
double mean(std::span<const double> values);

/// The q-quantile (0 <= q <= 1), linear between order statistics: Hyndman & Fan (1996) type 7, as NumPy and R
/// do by default. Throws std::invalid_argument when there are no values.
double quantile(std::span<const double> values, double q);

/// Puts the items into a random order, all orders being equally likely (Fisher & Yates 1938).
void shuffle(std::vector<std::size_t>& items, core::SplitMix64& random);

/// A mean with the ends of its interval. One value has no interval: how far another would lie from it is not known.
struct Interval {
  double mean = 0;
  std::optional<double> low = {};
  std::optional<double> high = {};

  /// The ends, and the mean where there are none.
  double lower() const { return low.value_or(mean); }
  double upper() const { return high.value_or(mean); }
};

struct BootstrapOptions {
  std::uint64_t seed = 1;
  std::size_t resamples = 2000;  // the percentiles' own error is then about 3 % of the interval's width
  double confidence = 0.95;
};

/// Percentile bootstrap interval of the mean (Efron 1979): the values, one per prompt, are drawn with
/// replacement. Draws come from SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195) started at
/// the seed, so the interval is the same everywhere. One value gives no interval. Throws std::invalid_argument
/// when there are no values or resamples.
Interval bootstrap_mean(std::span<const double> values, const BootstrapOptions& options = {});

/// The same of the mean of a[i] - b[i]: two policies on the same prompts. Far narrower than two intervals
/// side by side, since prompts differ more than policies do. Sizes must be equal.
Interval bootstrap_paired_difference(std::span<const double> a, std::span<const double> b,
                                     const BootstrapOptions& options = {});

/// Percentile bootstrap interval of mean(a) - mean(b) of independent samples: both are resampled. No interval
/// where either has one value.
Interval bootstrap_difference(std::span<const double> a, std::span<const double> b,
                              const BootstrapOptions& options = {});

}  // namespace evictlab::results
