#pragma once

#include "cli/common_options.hpp"
#include "cli/console.hpp"
#include "lab/ranks.hpp"

namespace evictlab::cli {

/// Runs a command whose ranks share its work: parses its options, lets every rank do `work` and the first `print` the
/// outcome.
template <typename Work, typename Print>
int run_on_ranks(Options& options, const Arguments& arguments, const Work& work, const Print& print) {
  lab::Ranks ranks;
  ranks.wait_for_first();  // what is wrong is said once
  if (!options.parse(arguments)) {
    ranks.let_others_begin();
    return 0;
  }
  use_threads(options);
  Console console;
  lab::Observer silent;
  const auto outcome = work(ranks, ranks.first() ? console : silent);
  if (ranks.first()) print(outcome);
  return 0;
}

}  // namespace evictlab::cli
