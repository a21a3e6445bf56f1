#pragma once

#include <functional>
#include <vector>

#include "results/table.hpp"
#include "runtime/live/outcome.hpp"
#include "sim/policy/budget.hpp"
#include "sim/replay/replay.hpp"

// One prompt of a validation: the model reads it once with the full cache, and continues from every policy's
// compacted cache.

namespace evictlab::lab {

/// What all prompts have in common.
struct ValidationPlan {
  const runtime::Transformer& model;
  const trace::ModelInfo& info;
  std::vector<sim::Policy> policies;
  std::vector<sim::Budget> budgets;
  runtime::RecordOptions record;  // of what policies and replay read
  runtime::Detokenizer text;
  std::size_t most_tokens = 0;                        // to be written; 0: as many as the answer asks for
  bool teacher_forced = false;                        // alone: nothing is written
  bool replay = true;                                 // also predict by replay
  std::vector<trace::RowMatrix> output_weights = {};  // [L], for replay
  /// Which policies run live at which budgets; empty: all at all.
  std::function<bool(const sim::Policy&, const sim::Budget&)> runs_live = {};
};

/// What one prompt gives: rows of validate.csv, and the replay of the same prompt.
struct ValidatedPrompt {
  results::Table validate;
  sim::ReplayResult replay;
};

/// The prompt as the model reads it with the full cache. Throws core::Interrupted.
runtime::Reference read_prompt(const ValidationPlan& plan, const runtime::TokenizedPrompt& prompt);

/// The same as a trace of one prompt, with what replay reads.
trace::MemoryTrace recorded_trace(const ValidationPlan& plan, const runtime::Reference& reference);

/// What replay says of a prompt.
sim::ReplayResult replay_prompt(const ValidationPlan& plan, const runtime::Reference& reference);

/// `progress` receives how many of the runs (policies times budgets) are done. Throws core::Interrupted.
ValidatedPrompt validate_prompt(const ValidationPlan& plan, const runtime::TokenizedPrompt& prompt,
                                const runtime::Reference& reference, const std::function<void(double)>& progress);

}  // namespace evictlab::lab
