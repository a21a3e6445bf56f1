#pragma once

#include <filesystem>
#include <vector>

#include "lab/validate.hpp"
#include "results/race.hpp"

namespace evictlab::lab {

struct RaceOptions {
  /// Model, prompts, policies, budgets, where the tables go. There is no replay table to compare with.
  ValidateOptions run = {};
  std::filesystem::path calibration = {};  // calibration.json of this model
};

/// Of the first rank; empty in the others.
struct RaceOutcome {
  std::vector<results::RaceField> fields;  // by budget
  std::vector<results::Race> races;        // likewise
  results::Table race;
  results::Table validate;  // the runs that were done
  std::size_t documents = 0;
  std::size_t runs = 0;                      // done: a method at a budget on a prompt
  std::size_t runs_of_all = 0;               // what all methods take that raced, or that replay separated
  std::vector<std::filesystem::path> files;  // written, validate.csv first
};

/// Replays all policies at every budget, foretells their KL divergence, and runs live only the methods that this cannot
/// separate (results::race_fields), document by document in a random order that depends on the prompts alone: after
/// each, methods that another one is found to beat drop out. A budget's race ends when one is left, or the documents
/// end. Ranks share the replay; the first one races. Resumes an interrupted race. Throws core::InputError,
/// core::Interrupted.
RaceOutcome race(const RaceOptions& options, Observer& observer);

}  // namespace evictlab::lab
