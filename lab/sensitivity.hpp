#pragma once

#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "lab/observer.hpp"
#include "lab/profile_tables.hpp"
#include "results/table.hpp"
#include "sim/policy/budget.hpp"
#include "sim/policy/policy.hpp"
#include "trace/model.hpp"

// Sensitivity: what it costs to evict in one layer, or in one kv head, while everything else keeps all its positions;
// and what published rules of dividing budgets over layers say of the same layers.

namespace evictlab::lab {

/// The policies, and the counts that they evict to.
struct SensitivityRequest {
  std::vector<sim::Policy> policies = {};
  std::vector<sim::Budget> budgets = {};

  bool empty() const { return policies.empty(); }
};
/// Reads "snapkv,h2o@64,128": policies and, after the last @, budgets. Throws core::InputError.
SensitivityRequest parse_sensitivity(std::string_view text);

/// A policy that evicts in one place; head -1: in all kv heads of the layer.
struct SitePolicy {
  const sim::Policy* base;
  trace::Index layer = 0;
  trace::Index head = -1;
  sim::Policy policy;
};

/// What is measured on every prompt.
struct SensitivityPlan {
  SensitivityRequest request;
  std::vector<SitePolicy> sites;
  std::vector<sim::Policy> rules;  // published policies that divide budgets over layers

  /// Every layer, and with `heads` every kv head, under every policy. `rules` that the trace cannot serve are left out.
  /// Throws sim::PolicyError for a policy that cannot evict in one place, or that the trace cannot serve.
  SensitivityPlan(SensitivityRequest asked, const trace::Source& trace, bool heads);
  SensitivityPlan(const SensitivityPlan&) = delete;  // sites point into the request
  SensitivityPlan& operator=(const SensitivityPlan&) = delete;

  std::vector<sim::Policy> site_policies() const;
};

/// By (prompt, policy, budget): of all positions that a published policy keeps of the prompt, the share in each layer.
using RuleShares = std::map<std::tuple<std::string, std::string, std::string>, std::vector<double>>;
RuleShares rule_shares(const SensitivityPlan& plan, const trace::Source& trace);

/// What is known of one prompt before its rows are made.
struct MeasuredPrompt {
  const results::Table& replay;    // under the site policies, with rows of layers
  const results::Table* validate;  // under them and `full`; null where the model did not run
  const ProfileTables& profile;    // its layers and attention
  const RuleShares& shares;
};
/// Adds a prompt's rows of sensitivity.csv.
void add_sensitivity_rows(const SensitivityPlan& plan, const trace::ModelInfo& model, const trace::PromptInfo& prompt,
                          const MeasuredPrompt& measured, results::Table& table);

struct SensitivityTables {
  results::Table sensitivity;
  results::Table summary;
  results::Table agreement;

  /// body(name, table) for each.
  template <typename Body>
  void each(const Body& body) const {
    body("sensitivity", sensitivity);
    body("sensitivity_summary", summary);
    body("sensitivity_agreement", agreement);
  }
  static std::vector<std::string> names();
};
/// With what is computed over prompts from the rows. Throws core::InputError when no row could run.
SensitivityTables sensitivity_tables(results::Table sensitivity);

/// Throws core::InputError for a trace without the full tier, whose losses are not exact.
void check_sensitivity_trace(const trace::Source& trace);

/// The sensitivities of a recorded trace by replay alone, of layers and kv heads. Throws as
/// check_sensitivity_trace() does; core::Interrupted.
SensitivityTables trace_sensitivity(const trace::Source& trace, const SensitivityRequest& request,
                                    const ProfileTables& profile, Observer& observer);

}  // namespace evictlab::lab
