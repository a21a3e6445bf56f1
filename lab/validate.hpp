#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lab/observer.hpp"
#include "lab/policy_selection.hpp"
#include "lab/prompt_sources.hpp"
#include "lab/ranks.hpp"
#include "results/calibration.hpp"
#include "results/table.hpp"

namespace evictlab::lab {

struct ValidateOptions {
  std::filesystem::path model = {};
  PromptRequest prompts = {};
  PolicyRequest policies = {};
  std::string budgets = {};
  trace::Index window = 64;                                 // observation window
  trace::ElementType dtype = trace::ElementType::kFloat32;  // of what replay reads
  trace::Index gradients = 0;                               // draws of them that replay reads; 0 = none
  runtime::TokenizeOptions tokenization = {};
  std::size_t most_tokens = 0;                       // to be written; 0: as many as the answer asks for
  bool teacher_forced = false;                       // alone: the model writes no answers of its own
  std::optional<std::filesystem::path> replay = {};  // a table to compare with, instead of replaying

  std::filesystem::path out = {};  // the folder for the tables, where an interrupted validation resumes
  bool force = false;              // replace existing files, and start over
  std::string command = {};
  Ranks* ranks = nullptr;  // that share the prompts; none: this process alone
};

/// Of the first rank; empty in the others.
struct ValidateOutcome {
  results::Table validate;
  results::Table outcomes;
  results::Calibration calibration;
  std::vector<std::filesystem::path> files;  // written, validate.csv first
};

/// Runs the model with its KV cache physically compacted by every policy at every budget, and compares its answers and
/// next-token distributions with what the replay of the same prompts predicts. Resumes an interrupted validation.
/// Throws core::InputError, core::Interrupted.
ValidateOutcome validate(const ValidateOptions& options, Observer& observer);

}  // namespace evictlab::lab
