#include "runtime/live/next_token.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace evictlab::runtime {
namespace {

// ln sum_i e^logit_i
double log_sum(std::span<const float> logits) {
  const double largest = static_cast<double>(*std::ranges::max_element(logits));
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
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
  double divergence = 0.0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double p = static_cast<double>(reference[i]) - p_sum;
    const double q = static_cast<double>(logits[i]) - q_sum;
    divergence += std::exp(p) * (p - q);
  }
  return std::max(0.0, divergence);  // what rounding leaves below
}

}  // namespace evictlab::runtime
