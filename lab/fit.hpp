#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "lab/inputs.hpp"
#include "lab/observer.hpp"
#include "lab/policy_selection.hpp"
#include "lab/policy_sets.hpp"
#include "lab/result_folder.hpp"
#include "results/table.hpp"
#include "sim/policy/scores_from.hpp"
#include "sim/replay/fitting.hpp"

namespace evictlab::lab {

/// By its name. Throws core::InputError for any other.
sim::LossUnit loss_unit(std::string_view name);

struct FitOptions {
  std::vector<std::filesystem::path> traces = {};   // of one model
  std::vector<std::string> only = {};               // ids of the prompts that it is fitted to; empty: all
  PolicyRequest policies = {.list = kFitPolicies};  // whose scorers may be used
  std::string budgets = "64,128,256";               // slots at which choices are made
  sim::LossUnit unit = sim::LossUnit::kOutput;
  sim::FittedUnit per = sim::FittedUnit::kHead;
  trace::Index block = 1;  // counts are multiples of it
  sim::TaskRule tasks = sim::TaskRule::kWorst;
  sim::ScoresFrom from = sim::ScoresFrom::kAll;  // the most an engine would compute

  Inputs inputs = {};              // further files that no output may be
  std::filesystem::path out = {};  // the folder for policy.json and the tables
  bool force = false;              // replace existing files
  std::string command = {};
};

struct FitOutcome {
  sim::Fit fit;
  std::vector<std::string> scorers;  // labels, in the order of the policy's
  results::Table trials;
  results::Table budgets;
  std::filesystem::path policy;
  std::vector<std::filesystem::path> files;  // written, policy.json first
};

/// Announces the files of a fit.
void plan_fit(const FitOptions& options, ResultFolder& folder);
/// Throws core::InputError for what is wrong whatever the recording: the folder's name, budgets, policies none of which
/// has a scorer that may be used.
void check_fit(const FitOptions& options, Observer& observer);

/// Measures what every kv head loses at every count by every scorer, and compiles a policy of it. Throws
/// core::InputError, core::Interrupted.
FitOutcome fit(const FitOptions& options, Observer& observer);

}  // namespace evictlab::lab
