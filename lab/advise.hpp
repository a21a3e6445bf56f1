#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lab/observer.hpp"
#include "lab/policy_selection.hpp"
#include "lab/policy_sets.hpp"
#include "results/advice.hpp"
#include "trace/model.hpp"

namespace evictlab::lab {

struct AdviseOptions {
  std::vector<std::filesystem::path> traces = {};  // of one model, every layer recorded
  std::optional<double> loss = {};                 // the most that may be lost, or
  std::string bytes = {};                          // "64MiB": the most that one sequence may hold
  std::string measure = "attention";  // what is lost: "attention" of the future, layers' "output", or "kl", foretold
  std::optional<std::filesystem::path> calibration = {};  // of validate, for "kl"
  PolicyRequest policies = {.list = kAdvisedPolicies};

  std::optional<std::filesystem::path> out = {};  // for the budgets, as JSON
  bool force = false;
  std::string command = {};
};

/// A policy at a budget, and what it costs.
struct AdvisedRun {
  std::string label;
  results::CostedRun run;
};

struct AdviseOutcome {
  std::string title;       // of the list of candidates
  std::string loss_words;  // what is lost, for people
  std::size_t prompts = 0;
  std::vector<AdvisedRun> candidates;  // each policy's best run that meets the target, best first
  sim::Policy policy;                  // the choice
  sim::Budget budget = sim::Budget::slots(1);
  results::CostedRun run;
  std::vector<std::vector<trace::Index>> budgets;  // [L][sets]: its mean positions per layer and kept set
  std::optional<results::CostedRun> fixed;         // what every prompt costs with these same budgets
  double full_bytes = 0.0;                         // of one sequence's cache when nothing is evicted
  std::string model;
  std::string model_fingerprint;
};

/// Finds the cheapest policy and budget within a loss limit, or the most accurate policy within a memory limit, and its
/// budgets per layer and head. Throws core::InputError when nothing meets the target, core::Interrupted.
AdviseOutcome advise(const AdviseOptions& options, Observer& observer);

/// The candidates and the advice as a table for people.
std::string advice_text(const AdviseOutcome& outcome);

}  // namespace evictlab::lab
