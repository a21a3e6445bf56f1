#include "runtime/sampling.hpp"

#include <algorithm>
#include <cmath>

#include "core/select.hpp"
#include "runtime/model_error.hpp"

namespace evictlab::runtime {

std::int32_t greedy_token(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin());
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature)) {
    throw ModelError("temperature is {}, expected 0 or more", options.temperature);
  }
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    throw ModelError("top_p is {}, expected a number in (0, 1]", options.top_p);
  }
}

std::int32_t Sampler::next(std::span<const float> logits) {
  if (options_.temperature == 0) return greedy_token(logits);
  if (std::ranges::any_of(logits, [](float logit) { return std::isnan(logit); })) {
    throw ModelError("the model's logits are not numbers: its weights hold NaN or infinity");
  }
  const std::size_t candidates = options_.top_k == 0 ? logits.size() : std::min(options_.top_k, logits.size());
  const std::vector<std::uint32_t> order = core::top_ranked(logits, candidates);
  std::vector<double> weights;
  double total = 0.0;
  for (const std::uint32_t id : order) {
    weights.push_back(
        std::exp((static_cast<double>(logits[id]) - static_cast<double>(logits[order[0]])) / options_.temperature));
    total += weights.back();
  }
  // The nucleus: the shortest prefix that reaches top_p of the whole.
  std::size_t kept = 0;
  double mass = 0.0;
  while (kept < weights.size() && (kept == 0 || mass < options_.top_p * total)) mass += weights[kept++];
  double threshold = random_.uniform() * mass;
  std::size_t chosen = 0;
  while (chosen + 1 < kept && threshold >= weights[chosen]) threshold -= weights[chosen++];
  return static_cast<std::int32_t>(order[chosen]);
}

std::vector<std::int32_t> generate(const Transformer& model, KvCache& cache, std::vector<float> logits,
                                   std::size_t count, Sampler& sampler, ForwardObserver* observer) {
  const std::vector<std::int32_t>& ends = model.config().eos_token_ids;
  std::vector<std::int32_t> tokens;
  while (tokens.size() < count) {
    tokens.push_back(sampler.next(logits));
    if (tokens.size() == count || std::ranges::find(ends, tokens.back()) != ends.end()) break;
    logits = model.forward(std::span(&tokens.back(), 1), cache, observer);
  }
  return tokens;
}

}  // namespace evictlab::runtime
