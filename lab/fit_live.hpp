#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lab/fit.hpp"
#include "lab/validate.hpp"

namespace evictlab::lab {

/// From a model and prompts to a policy that was judged live: one half of the documents is recorded and fitted to, the
/// other half is run.
struct LiveFitOptions {
  FitOptions fit = {};  // without traces; `out` also takes recording.h5 and the folder validate
  std::filesystem::path model = {};
  PromptRequest prompts = {};
  std::string against = kAdvisedPolicies;  // published policies, of which those that replay finds best are run
};

struct LiveFitOutcome {
  FitOutcome fit;
  std::vector<std::string> published;  // labels of the published policies that were run, best at some budget
  std::size_t recorded = 0;            // prompts
  std::size_t judged = 0;
  ValidateOutcome validation;
};

/// Throws core::InputError, also where all prompts are of one document, so that nothing could be left to judge by;
/// core::Interrupted.
LiveFitOutcome fit_live(const LiveFitOptions& options, Observer& observer);

}  // namespace evictlab::lab
