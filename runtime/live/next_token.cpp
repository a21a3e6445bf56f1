#include "runtime/live/next_token.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "core/elementary.hpp"
#include "runtime/fixed_order_sum.hpp"

namespace evictlab::runtime {
namespace {

/// Sum over i of e^exponent(i) * factor(i), in a fixed order. Exponents above 0 are what rounding leaves, and count as
/// 0.
template <typename Exponent, typename Factor>
double sum_of_exponentials(std::size_t size, Exponent exponent, Factor factor) {
  // Block by block: compilers make vector code of a loop that only fills an array.
  constexpr std::size_t kBlock = 512;
  Eigen::Array<double, static_cast<int>(kBlock), 1> powers;
  double sum = 0.0;
  for (std::size_t begin = 0; begin < size; begin += kBlock) {
    const auto count = static_cast<Eigen::Index>(std::min(kBlock, size - begin));
    for (Eigen::Index i = 0; i < count; ++i) powers[i] = exponent(begin + static_cast<std::size_t>(i));
    powers.head(count) = powers.head(count).max(core::kSmallestDoubleExponent).min(0.0);
    for (Eigen::Index i = 0; i < count; ++i) powers[i] = core::exponential(powers[i]);
    sum +=
        fixed_order_sum(count, [&](Eigen::Index i) { return powers[i] * factor(begin + static_cast<std::size_t>(i)); });
  }
  return sum;
}

// ln sum_i e^logit_i
double log_sum(std::span<const float> logits) {
  const float* const values = logits.data();
  const auto largest = static_cast<double>(
      Eigen::Map<const Eigen::ArrayXf>(values, static_cast<Eigen::Index>(logits.size())).maxCoeff());
  const double sum = sum_of_exponentials(
      logits.size(), [=](std::size_t i) { return static_cast<double>(values[i]) - largest; },
      [](std::size_t) { return 1.0; });
  return largest + std::log(sum);
}

}  // namespace

std::size_t largest_logit(std::span<const float> logits) {
  return static_cast<std::size_t>(std::ranges::max_element(logits) - logits.begin());
}

double log_probability(std::span<const float> logits, std::int32_t token) {
  return static_cast<double>(logits[static_cast<std::size_t>(token)]) - log_sum(logits);
}

double kl_divergence(std::span<const float> reference, std::span<const float> logits) {
  if (reference.size() != logits.size()) throw std::invalid_argument("distributions over different vocabularies");
  const double p_sum = log_sum(reference);
  const double q_sum = log_sum(logits);
  const float* const p_logits = reference.data();
  const float* const q_logits = logits.data();
  const auto p = [=](std::size_t i) { return static_cast<double>(p_logits[i]) - p_sum; };
  const auto q = [=](std::size_t i) { return static_cast<double>(q_logits[i]) - q_sum; };
  const double divergence = sum_of_exponentials(logits.size(), p, [=](std::size_t i) { return p(i) - q(i); });
  return std::max(0.0, divergence);  // what rounding leaves below
}

}  // namespace evictlab::runtime
