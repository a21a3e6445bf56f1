#pragma once

#include <optional>
#include <span>

namespace evictlab::results {

/// The largest exponent: beyond, a map would say more of how it fits than of small losses, on which it rests where
/// budgets are large. To second order, a divergence is as the square of an error.
inline constexpr double kSteepest = 4.0;

/// From what eviction loses by a measure to the KL divergence that it causes:
///
///   E[kl | m] = exp(a) (m / (m + s))^b        0 < b <= kSteepest, s > 0; without s (a power law) exp(a) m^b
///
/// Strictly increasing, 0 for nothing lost, and linear in the logarithms as long as m is far below s. Above s it levels
/// off: a divergence does not grow any more once what mattered is gone.
struct KlMap {
  double log_scale = 0.0;                 // a
  std::optional<double> saturation = {};  // s, in the measure's unit
  double exponent = 1.0;                  // b

  /// In nats; 0 where nothing is lost (lost <= 0).
  double operator()(double lost) const;
};

/// Fits the map to runs by Poisson quasi-likelihood, which asks of the data no more than that their mean is as above
/// (Gourieroux, Monfort & Trognon 1984, doi:10.2307/1913472; Santos Silva & Tenreyro 2006,
/// doi:10.1162/rest.88.4.641): means come out right without a smearing factor (Duan 1983), and runs without divergence
/// count as they are. The saturation is the likeliest of a grid about the median loss.
/// `lost`, `kl` and `weights` are of equal length; runs that lose nothing do not count. Nothing where fewer than three
/// runs count, or the divergence does not rise with the loss.
std::optional<KlMap> fit_kl_map(std::span<const double> lost, std::span<const double> kl,
                                std::span<const double> weights);

}  // namespace evictlab::results
