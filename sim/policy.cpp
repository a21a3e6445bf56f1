#include "sim/policy.hpp"

#include <algorithm>

namespace evictlab::sim {
namespace {

Needs merged(const Needs& a, const Needs& b) {
  return {a.fields | b.fields, std::max(a.window_rows, b.window_rows), a.future || b.future};
}

std::string with_parameters(const std::string& name, const std::string& parameters) {
  return parameters.empty() ? name : fmt::format("{}({})", name, parameters);
}

}  // namespace

Needs Policy::needs() const {
  const Needs own = allocator->needs();
  return scorer ? merged(own, scorer->needs()) : own;
}

std::string Policy::text() const { return with_parameters(name, parameters); }
std::string Policy::label() const { return with_parameters(name, changes); }

void check_parts(const Policy& policy) {
  if (policy.scorer) {
    if (policy.scorer->granularity() != policy.granularity) {
      throw PolicyError("policy '{}': its scorer ranks per {} head and its kept sets are per {} head", policy.name,
                        granularity_name(policy.scorer->granularity()), granularity_name(policy.granularity));
    }
    if (policy.scorer->unscored_tail() > policy.protection.recent) {
      throw PolicyError(
          "policy '{}': its scorer does not score the last {} positions, so recent must be at least {}, got {}",
          policy.name, policy.scorer->unscored_tail(), policy.scorer->unscored_tail(), policy.protection.recent);
    }
  }
  if (policy.selector->ranking_depends_on_budget() && policy.allocator->revises()) {
    throw PolicyError("policy '{}': {} ranks for one budget, but {} still changes a layer's budget after ranking",
                      policy.name, policy.selector->identity(), policy.allocator->identity());
  }
}

void check_needs(const Policy& policy, const trace::PromptInfo& prompt) {
  const Needs needs = policy.needs();
  const trace::Fields recorded = trace::tier_fields(prompt.tier);
  for (const trace::Field field : trace::kAllFields) {
    if (!needs.fields.contains(field) || recorded.contains(field)) continue;
    throw PolicyError(
        "policy '{}' reads {}; prompt '{}' was recorded in the {} tier, which lacks it (record with --tier full)",
        policy.name, trace::field_name(field), prompt.id, trace::tier_name(prompt.tier));
  }
  if (needs.window_rows > prompt.window) {
    throw PolicyError(
        "policy '{}' reads the last {} prompt queries; prompt '{}' recorded {} (record with --window {}, or lower its "
        "window)",
        policy.name, needs.window_rows, prompt.id, prompt.window, needs.window_rows);
  }
  if (needs.future && prompt.future_length == 0) {
    throw PolicyError("policy '{}' reads the future queries; prompt '{}' recorded none", policy.name, prompt.id);
  }
}

bool is_feasible(const Policy& policy, const trace::LayerShape& shape, Index slots) {
  if (policy.allocator->ignores_budget()) return true;
  // A set that may hold no position at all holds nothing to speak of, protected or not.
  const Index least = std::max<Index>(1, PositionRanges(shape, policy.protection).protected_count());
  return set_capacity(policy.granularity, shape, slots) >= least;
}

}  // namespace evictlab::sim
