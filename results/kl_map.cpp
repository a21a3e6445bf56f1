#include "results/kl_map.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace evictlab::results {
namespace {

/// Saturations tried, times the median loss; and the power law.
constexpr double kSaturations[] = {0.1, 0.3, 1.0, 3.0, 10.0};
constexpr int kSteps = 60;        // of Fisher scoring: six suffice as a rule
constexpr double kFarthest = 40;  // of a logarithm, so that none overflows

/// Runs that lose something, whose weights sum to 1.
struct WeightedLosses {
  std::vector<double> lost, kl, weights;
  double mean_kl = 0.0;
};

double log_share(double lost, std::optional<double> saturation) {
  return saturation ? std::log(lost / (lost + *saturation)) : std::log(lost);
}

/// The mean exp(a + b x), and how likely the runs are by it.
struct LogLinear {
  double a = 0.0;
  double b = 0.0;
  double likelihood = 0.0;  // of Poisson, without what does not depend on a and b
};

/// What Fisher scoring needs at a and b.
struct Scoring {
  double likelihood = 0.0;
  double score_a = 0.0, score_b = 0.0;
  double aa = 0.0, ab = 0.0, bb = 0.0;  // information
};

Scoring scoring_at(const WeightedLosses& runs, const std::vector<double>& x, double a, double b) {
  Scoring at;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double eta = std::clamp(a + b * x[i], -kFarthest, kFarthest);
    const double mean = runs.weights[i] * std::exp(eta);
    const double kl = runs.weights[i] * runs.kl[i];
    at.likelihood += kl * eta - mean;
    at.score_a += kl - mean;
    at.score_b += (kl - mean) * x[i];
    at.aa += mean;
    at.ab += mean * x[i];
    at.bb += mean * x[i] * x[i];
  }
  return at;
}

/// Fisher scoring, with steps halved until the likelihood does not fall. x is centred, for the sake of the 2 x 2
/// equations.
LogLinear log_linear_mean(const WeightedLosses& runs, std::vector<double> x) {
  double centre = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) centre += runs.weights[i] * x[i];
  for (double& one : x) one -= centre;
  LogLinear best{std::log(runs.mean_kl), 0.0, 0.0};
  Scoring at = scoring_at(runs, x, best.a, best.b);
  for (int step = 0; step < kSteps; ++step) {
    const double determinant = at.aa * at.bb - at.ab * at.ab;
    if (!(determinant > 1e-14 * at.aa * at.bb)) break;  // all losses are equal
    const double step_a = (at.bb * at.score_a - at.ab * at.score_b) / determinant;
    const double step_b = (at.aa * at.score_b - at.ab * at.score_a) / determinant;
    double share = 1.0;
    Scoring next = scoring_at(runs, x, best.a + step_a, best.b + step_b);
    while (!(next.likelihood >= at.likelihood) && share > 1e-6) {
      share *= 0.5;
      next = scoring_at(runs, x, best.a + share * step_a, best.b + share * step_b);
    }
    if (!(next.likelihood >= at.likelihood)) break;
    best.a += share * step_a;
    best.b += share * step_b;
    at = next;
    if (share * (std::abs(step_a) + std::abs(step_b)) < 1e-9) break;
  }
  best.likelihood = at.likelihood;
  best.a -= best.b * centre;
  return best;
}

}  // namespace

double KlMap::operator()(double lost) const {
  if (!(lost > 0.0)) return 0.0;
  return std::exp(log_scale + exponent * log_share(lost, saturation));
}

std::optional<KlMap> fit_kl_map(std::span<const double> lost, std::span<const double> kl,
                                std::span<const double> weights) {
  WeightedLosses runs;
  double total = 0.0;
  for (std::size_t i = 0; i < lost.size(); ++i) {
    if (!(lost[i] > 0.0) || !(weights[i] > 0.0)) continue;
    runs.lost.push_back(lost[i]);
    runs.kl.push_back(std::max(0.0, kl[i]));
    runs.weights.push_back(weights[i]);
    total += weights[i];
  }
  if (runs.lost.size() < 3) return std::nullopt;
  for (std::size_t i = 0; i < runs.lost.size(); ++i) runs.mean_kl += (runs.weights[i] /= total) * runs.kl[i];
  if (!(runs.mean_kl > 0.0)) return std::nullopt;

  std::vector<double> ordered = runs.lost;
  std::ranges::nth_element(ordered, ordered.begin() + static_cast<std::ptrdiff_t>(ordered.size() / 2));
  const double median = ordered[ordered.size() / 2];
  std::optional<KlMap> best;
  double likelihood = 0.0;
  const auto attempt = [&](std::optional<double> saturation) {
    std::vector<double> x;
    x.reserve(runs.lost.size());
    for (const double one : runs.lost) x.push_back(log_share(one, saturation));
    const LogLinear line = log_linear_mean(runs, std::move(x));
    if (!(line.b > 0.0) || line.b > kSteepest || (best && line.likelihood <= likelihood)) return;
    best = KlMap{line.a, saturation, line.b};
    likelihood = line.likelihood;
  };
  attempt(std::nullopt);
  for (const double share : kSaturations) attempt(share * median);
  return best;
}

}  // namespace evictlab::results
