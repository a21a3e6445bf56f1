#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

// Next-token distributions, as logits over a vocabulary. Sums in double; logits of any size are safe.

namespace evictlab::runtime {

/// The index of the largest; of equal ones the lowest.
std::size_t largest_logit(std::span<const float> logits);

/// ln p(token), p = softmax(logits). Nats, <= 0.
double log_probability(std::span<const float> logits, std::int32_t token);

/// KL(p || q) = sum_i p_i ln(p_i / q_i), p = softmax(reference), q = softmax(logits). Nats, >= 0; 0 for the same
/// logits, exactly. Throws std::invalid_argument for different sizes.
double kl_divergence(std::span<const float> reference, std::span<const float> logits);

}  // namespace evictlab::runtime
