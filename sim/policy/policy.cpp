#include "sim/policy/policy.hpp"

#include <algorithm>

#include "results/labels.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/imported.hpp"

namespace evictlab::sim {
namespace {

Needs merged(const Needs& a, const Needs& b) {
  return {a.fields | b.fields, std::max(a.window_rows, b.window_rows), a.future || b.future,
          a.output_weight || b.output_weight};
}

}  // namespace

Needs Policy::prompt_needs() const {
  Needs needs = allocator->traits().needs;
  for (const auto& part : {scorer, refiner}) {
    if (part) needs = merged(needs, part->needs());
  }
  return needs;
}

Needs Policy::needs() const {
  Needs needs = prompt_needs();
  if (decoding) needs.fields |= decoding->fields() | trace::Field::kQueries | trace::Field::kKeys;
  return needs;
}

std::string Policy::text() const { return results::with_parameters(name, parameters); }
std::string Policy::label() const { return results::with_parameters(name, changes); }

Policy assembled(const Parameters& given, const PolicyParts& parts) {
  Policy policy;
  policy.scorer = make_scorer(parts.scorer, &given);
  policy.refiner = make_scorer(parts.refiner, &given);
  policy.allocator = make_allocator(parts.allocator, &given);
  policy.selector = make_selector(parts.selector, &given);
  if (given.declares("decode") && is_yes(given, "decode")) policy.decoding = make_decoder(parts.decoder, &given);
  policy.protection = policy.allocator->traits().protection.value_or(parts.protection);
  if (policy.scorer) policy.granularity = policy.scorer->granularity();
  if (!policy.scorer && given.declares("axis")) policy.granularity = granularity_from(given);
  if (parts.per_layer) policy.granularity = Granularity::kLayer;
  for (auto* scorer : {&policy.scorer, &policy.refiner}) {
    if (parts.per_layer && *scorer) *scorer = shared_scorer(*scorer, Granularity::kLayer);
  }
  return policy;
}

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
  if (policy.allocator->traits().reads_scores && !policy.scorer) {
    throw ImpossiblePolicy("policy '{}': {} divides the budget by scores, but there is no scorer", policy.name,
                           policy.allocator->identity());
  }
  if (policy.selector->needs_refinement() && (!policy.scorer || !policy.refiner)) {
    throw ImpossiblePolicy("policy '{}': {} needs a scorer and a second one that refines it", policy.name,
                           policy.selector->identity());
  }
  if (policy.selector->ranking_depends_on_own_budget() && policy.allocator->traits().revises) {
    throw ImpossiblePolicy("policy '{}': {} ranks for one budget, but {} still changes a layer's budget after ranking",
                           policy.name, policy.selector->identity(), policy.allocator->identity());
  }
  if (policy.selector->sharing(64).layers > 1 && policy.allocator->traits().revises) {
    throw ImpossiblePolicy("policy '{}': {} shares what one layer selected with the next, but {} still changes budgets",
                           policy.name, policy.selector->identity(), policy.allocator->identity());
  }
}

void check_needs(const Policy& policy, const trace::PromptInfo& prompt) {
  check_imported(policy);
  const Needs needs = policy.needs();
  const trace::Fields recorded = prompt.recorded();
  for (const trace::Field field : trace::kAllFields) {
    if (!needs.fields.contains(field) || recorded.contains(field)) continue;
    if (prompt.missing.contains(field)) {
      throw PolicyError("policy '{}' reads {}; prompt '{}' was recorded without it", policy.name,
                        trace::field_name(field), prompt.id);
    }
    if (trace::kExtraFields.contains(field)) {
      throw PolicyError("policy '{}' reads {}, which prompt '{}' was recorded without (record with --repeat-context)",
                        policy.name, trace::field_name(field), prompt.id);
    }
    throw PolicyError(
        "policy '{}' reads {}; prompt '{}' was recorded in the {} tier, which lacks it (record with --tier full)",
        policy.name, trace::field_name(field), prompt.id, trace::tier_name(prompt.tier));
  }
  if (needs.output_weight && prompt.tier != trace::Tier::kFull) {
    throw PolicyError(
        "policy '{}' reads the output weight; prompt '{}' was recorded in the {} tier, which lacks it (record with "
        "--tier full)",
        policy.name, prompt.id, trace::tier_name(prompt.tier));
  }
  const bool every_query = prompt.window >= prompt.prompt_length;
  if (needs.window_rows > prompt.window && !every_query) {
    throw PolicyError(
        "policy '{}' reads the last {} prompt queries; prompt '{}' recorded {} (record with --window {}, or lower its "
        "window)",
        policy.name, needs.window_rows, prompt.id, prompt.window, needs.window_rows);
  }
  if (needs.future && prompt.future_length == 0) {
    throw PolicyError("policy '{}' reads the future queries; prompt '{}' recorded none", policy.name, prompt.id);
  }
}

void check_layers(const Policy& policy, const trace::ModelInfo& model, const trace::PromptInfo& prompt) {
  const FittedModel& made_for = policy.fitted_to;
  if (made_for.layers > 0 && (made_for.layers != model.layers || made_for.kv_heads != model.kv_heads)) {
    throw PolicyError("policy '{}' was fitted to {}, of {} layers with {} kv heads; {} has {} with {}", policy.label(),
                      made_for.name, made_for.layers, made_for.kv_heads, model.name, model.layers, model.kv_heads);
  }
  if (made_for.layers > 0 && made_for.sliding_windows != model.sliding_windows) {
    throw PolicyError("policy '{}' was fitted to {}, whose layers have other sliding windows than those of {}",
                      policy.label(), made_for.name, model.name);
  }
  if (!made_for.fingerprint.empty() && made_for.fingerprint != model.fingerprint) {
    throw PolicyError("policy '{}' was fitted to {} ({}), not to {} ({}); any_model=yes runs it all the same",
                      policy.label(), made_for.name, made_for.fingerprint, model.name, model.fingerprint);
  }
  const auto recorded = static_cast<Index>(prompt.layers.size());
  if (recorded == model.layers) return;
  const Index sharing = policy.selector->sharing(model.layers).layers;
  const char* equal = policy.allocator->traits().equal_layers.name.empty() ? "" : ", or replay it with layers=uniform";
  if (sharing > 1) {
    throw PolicyError(
        "policy '{}' selects once for {} successive layers; prompt '{}' recorded {} of {} layers (record without "
        "--layers)",
        policy.label(), sharing, prompt.id, recorded, model.layers);
  }
  if (policy.allocator->traits().compares_layers) {
    throw PolicyError(
        "policy '{}' divides one budget by what it sees of all layers; prompt '{}' recorded {} of {} layers (record "
        "without --layers{})",
        policy.label(), prompt.id, recorded, model.layers, equal);
  }
}

bool is_feasible(const Policy& policy, const trace::LayerShape& shape, double slots) {
  if (policy.allocator->traits().ignores_budget) return true;
  const Index least = policy.allocator->least_capacity(policy.ranges(shape).protected_count());
  return policy.request(shape.layers, slots).capacity(shape) >= least;
}

}  // namespace evictlab::sim
