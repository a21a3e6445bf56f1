// Methods that read keys, and values, but no attention: knorm (Devoto et al. 2024, arXiv:2406.11430), keydiff (Park et
// al. 2025, arXiv:2504.15364), lagkv (Liang et al. 2025, arXiv:2504.04704), expected-attention (Devoto et al. 2025,
// arXiv:2510.00636). All follow NVIDIA/kvpress: one set per kv head, nothing protected but what a method scores highest
// itself. KeyDiff is evicted once after the prompt; the paper's is block by block.

#include <fmt/format.h>

#include "sim/policy/declarations.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

constexpr const char* kSource = "NVIDIA/kvpress@8bb29b9";

Policy top_of(std::shared_ptr<const Scorer> scorer) {
  Policy policy;
  policy.scorer = std::move(scorer);
  policy.allocator = uniform_allocator();
  policy.selector = top_selector();
  return policy;
}

}  // namespace

PolicyDefinition knorm() {
  return {.description = "keeps the keys of smallest norm",
          .source = kSource,
          .parameters = {},
          .build = [](const Parameters&) { return top_of(key_norm_scorer()); }};
}

PolicyDefinition keydiff() {
  return {.description = "keeps the keys least like the mean direction of all keys",
          .source = kSource,
          .parameters = {},
          .build = [](const Parameters&) { return top_of(key_difference_scorer()); }};
}

PolicyDefinition lagkv() {
  ParameterList parameters;
  declare_lag_scoring(parameters);
  return {.description = "keeps what varies most in units of the next block's keys and values, and the last block",
          .source = kSource,
          .parameters = parameters,
          .build = [](const Parameters& given) { return top_of(lag_scorer(lag_scoring_from(given))); }};
}

PolicyDefinition expected_attention() {
  ParameterList parameters;
  declare_expected_scoring(parameters);
  return {.description = "keeps what queries like the prompt's are expected to attend to, weighted by value norms",
          .source = kSource,
          .parameters = parameters,
          .build = [](const Parameters& given) {
            const ExpectedScoring scoring = expected_scoring_from(given);
            Policy policy = top_of(expected_attention_scorer(scoring));
            if (scoring.sinks != trace::kFirstStatisticsPosition) {
              policy.notes.push_back(fmt::format(
                  "traces have the queries' mean and covariance from position {} on, its code takes them from {} on",
                  trace::kFirstStatisticsPosition, scoring.sinks));
            }
            return policy;
          }};
}

}  // namespace evictlab::sim
