#pragma once

#include <memory>
#include <string>
#include <vector>

#include "results/role.hpp"
#include "sim/policy/allocator.hpp"
#include "sim/policy/decoding.hpp"
#include "sim/policy/scorer.hpp"
#include "sim/policy/selector.hpp"
#include "sim/policy/types.hpp"
#include "trace/model.hpp"

namespace evictlab::sim {

/// The model that a policy was made for.
struct FittedModel {
  std::string digest;       // of the file that says what was fitted
  std::string fingerprint;  // empty: any of these sizes
  std::string name;
  Index layers = 0;  // 0: any model
  Index kv_heads = 0;
  std::vector<Index> sliding_windows = {};  // [layers]
};

/// Combines a scorer, an allocator and a selector with what is protected and who shares a kept set. A value: copies
/// share the parts, which never change.
struct Policy {
  std::string name;        // "snapkv"
  std::string parameters;  // canonical: all of them, "window=32,kernel=7,..."; may be empty
  std::string changes;     // those that differ from the defaults
  std::string variant;     // which source it follows; empty for our own
  results::Role role = results::Role::kMethod;

  std::shared_ptr<const Scorer> scorer;   // none: every candidate counts the same, earlier ones first
  std::shared_ptr<const Scorer> refiner;  // a second opinion, for selectors of two stages
  std::shared_ptr<const Allocator> allocator;
  std::shared_ptr<const Selector> selector;
  std::shared_ptr<const DecodeRule> decoding;  // none: nothing more is evicted after the prompt
  Protection protection;
  Granularity granularity = Granularity::kKvHead;
  Index block = 1;            // positions stored, and so kept, together; blocks start at multiples of it
  bool authors_unit = false;  // budgets are in the unit of the method's source
  Index uncounted = 0;        // protected positions that the source's capacity does not count
  FittedModel fitted_to = {};
  /// What a user should know about its parameters, one line each: a published setting that is not known.
  std::vector<std::string> notes;

  /// Whether it is the full cache, which others are compared with: it evicts nothing, whatever the budget.
  bool keeps_everything() const { return allocator->traits().keeps_everything; }
  /// What all parts together read.
  Needs needs() const;
  /// What of it is read of the prompt alone, without the rule that evicts while decoding.
  Needs prompt_needs() const;
  PositionRanges ranges(const trace::LayerShape& shape) const { return {shape, protection, block}; }
  /// The request for a budget, in a model of so many layers.
  AllocationRequest request(Index layers, double slots) const {
    return {layers, slots, granularity, authors_unit, uncounted};
  }
  /// "snapkv(window=32,kernel=7,...)": parses back to this policy.
  std::string text() const;
  /// "snapkv" or "snapkv(kernel=5)": short, for people.
  std::string label() const;
};

/// Names the parts of a policy.
struct PolicyParts {
  PartChoice scorer = {"none"};
  PartChoice refiner = {"none"};
  PartChoice allocator = {"uniform"};
  PartChoice selector = {"top"};
  PartChoice decoder = {};     // used when the policy's parameter "decode" is yes
  Protection protection = {};  // where the allocator does not protect something itself
  bool per_layer = false;      // all heads of a layer share a kept set, whatever the scorer scores for
};
/// Puts a policy together. A parameter that is not set here has the value of the policy's parameter of the same name
/// where it has one, else the part's default. Throws ImpossiblePolicy for values that a part does not take.
Policy assembled(const Parameters& given, const PolicyParts& parts);

/// Throws ImpossiblePolicy when the parts do not fit together, saying why.
void check_parts(const Policy& policy);

/// Throws PolicyError naming both sides when a recorded prompt lacks what the policy reads, imported scores and budgets
/// included. A prompt of which all queries are recorded lacks none: sim::run_status() says whether they are enough.
void check_needs(const Policy& policy, const trace::PromptInfo& prompt);

/// Throws PolicyError naming policy and reason when it was made for another model, when the prompt is recorded in some
/// layers only and what the policy keeps in them depends on the others: budgets that layers compete for, a selection
/// that successive layers share.
void check_layers(const Policy& policy, const trace::ModelInfo& model, const trace::PromptInfo& prompt);

/// Whether `slots` per kv head hold at least what the policy protects in this layer.
bool is_feasible(const Policy& policy, const trace::LayerShape& shape, double slots);

}  // namespace evictlab::sim
