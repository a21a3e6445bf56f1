#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/random.hpp"
#include "runtime/transformer.hpp"

namespace evictlab::runtime {

/// The id of the largest logit; of equal ones the lowest.
std::int32_t greedy_token(std::span<const float> logits);

struct SamplingOptions {
  double temperature = 0.0;  // logits are divided by it; 0 = greedy
  std::size_t top_k = 0;     // only the k most probable tokens; 0 = all
  double top_p = 1.0;        // only the fewest most probable tokens whose probabilities reach this, in (0, 1]
  std::uint64_t seed = 0;
};

/// Draws tokens. The same seed gives the same tokens on every machine: random numbers are the fractions of
/// core::SplitMix64; tokens are tried in descending order of logits, lower ids first.
class Sampler {
 public:
  /// Throws ModelError naming the option that is out of range.
  explicit Sampler(const SamplingOptions& options);
  /// Draws one number, except when greedy.
  std::int32_t next(std::span<const float> logits);

 private:
  SamplingOptions options_;
  core::SplitMix64 random_;
};

/// Continues a sequence whose last forward() returned `logits`: draws a token, reads it, draws the next, up
/// to `count` tokens or the first that ends the sequence (included). The last token drawn is not read.
std::vector<std::int32_t> generate(const Transformer& model, KvCache& cache, std::vector<float> logits,
                                   std::size_t count, Sampler& sampler, ForwardObserver* observer = nullptr);

}  // namespace evictlab::runtime
