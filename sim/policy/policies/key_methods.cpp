// Methods that read keys, and values, but no attention: knorm (Devoto et al. 2024, arXiv:2406.11430), keydiff (Park et
// al. 2025, arXiv:2504.15364), lagkv (Liang et al. 2025, arXiv:2504.04704), expected-attention (Devoto et al. 2025,
// arXiv:2510.00636). All follow NVIDIA/kvpress: one set per kv head, nothing protected but what a method scores highest
// itself. KeyDiff is evicted once after the prompt; the paper's is block by block.

#include <fmt/format.h>

#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

constexpr const char* kSource = "NVIDIA/kvpress@8bb29b9";

}  // namespace

PolicyDefinition knorm() {
  return {.description = "keeps the keys of smallest norm",
          .source = kSource,
          .parameters = {},
          .build = [](const Parameters& given) { return assembled(given, {.scorer = {"key-norm"}}); }};
}

PolicyDefinition keydiff() {
  return {.description = "keeps the keys least like the mean direction of all keys",
          .source = kSource,
          .parameters = {},
          .build = [](const Parameters& given) { return assembled(given, {.scorer = {"key-difference"}}); }};
}

PolicyDefinition lagkv() {
  return {.description = "keeps what varies most in units of the next block's keys and values, and the last block",
          .source = kSource,
          .parameters = scorer_parameters("lag"),
          .build = [](const Parameters& given) { return assembled(given, {.scorer = {"lag"}}); }};
}

PolicyDefinition expected_attention() {
  return {.description = "keeps what queries like the prompt's are expected to attend to, weighted by value norms",
          .source = kSource,
          .parameters = scorer_parameters("expected"),
          .build = [](const Parameters& given) {
            Policy policy = assembled(given, {.scorer = {"expected"}});
            if (given.integer("sinks") != trace::kFirstStatisticsPosition) {
              policy.notes.push_back(fmt::format(
                  "traces have the queries' mean and covariance from position {} on, its code takes them from {} on",
                  trace::kFirstStatisticsPosition, given.integer("sinks")));
            }
            return policy;
          }};
}

}  // namespace evictlab::sim
