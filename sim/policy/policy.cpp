#include "sim/policy/policy.hpp"

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
  Needs needs = allocator->needs();
  for (const auto& part : {scorer, refiner}) {
    if (part) needs = merged(needs, part->needs());
  }
  if (decoding) needs.fields |= decoding->fields() | trace::Field::kQueries | trace::Field::kKeys;
  return needs;
}

std::string Policy::text() const { return with_parameters(name, parameters); }
std::string Policy::label() const { return with_parameters(name, changes); }

void check_parts(const Policy& policy) {
  for (const auto& part : {policy.scorer, policy.refiner}) {
    if (!part) continue;
    if (part->granularity() != policy.granularity) {
      throw ImpossiblePolicy("policy '{}': {} scores per {}, but the kept sets are per {}", policy.name,
                             part->identity(), granularity_words(part->granularity()),
                             granularity_words(policy.granularity));
    }
    if (part->unscored_tail() > policy.protection.recent) {
      throw ImpossiblePolicy(
          "policy '{}': its scorer does not score the last {} positions, so as many must be protected, got {}",
          policy.name, part->unscored_tail(), policy.protection.recent);
    }
  }
  if (policy.allocator->needs_scores() && !policy.scorer) {
    throw ImpossiblePolicy("policy '{}': {} divides the budget by scores, but there is no scorer", policy.name,
                           policy.allocator->identity());
  }
  if (policy.selector->needs_refinement() && (!policy.scorer || !policy.refiner)) {
    throw ImpossiblePolicy("policy '{}': {} needs a scorer and a second one that refines it", policy.name,
                           policy.selector->identity());
  }
  if (policy.selector->ranking_depends_on_budget() && policy.allocator->revises()) {
    throw ImpossiblePolicy("policy '{}': {} ranks for one budget, but {} still changes a layer's budget after ranking",
                           policy.name, policy.selector->identity(), policy.allocator->identity());
  }
  if (policy.selector->layers_sharing(64) > 1 && policy.allocator->revises()) {
    throw ImpossiblePolicy("policy '{}': {} shares what one layer selected with the next, but {} still changes budgets",
                           policy.name, policy.selector->identity(), policy.allocator->identity());
  }
}

void check_needs(const Policy& policy, const trace::PromptInfo& prompt) {
  const Needs needs = policy.needs();
  const trace::Fields recorded = prompt.recorded();
  for (const trace::Field field : trace::kAllFields) {
    if (!needs.fields.contains(field) || recorded.contains(field)) continue;
    if (prompt.missing.contains(field)) {
      throw PolicyError("policy '{}' reads {}; prompt '{}' was imported without it", policy.name,
                        trace::field_name(field), prompt.id);
    }
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

bool is_feasible(const Policy& policy, const trace::LayerShape& shape, double slots) {
  if (policy.allocator->ignores_budget()) return true;
  const Index least = policy.allocator->least_capacity(policy.ranges(shape).protected_count());
  return policy.request(shape.layers, slots).capacity(shape) >= least;
}

}  // namespace evictlab::sim
