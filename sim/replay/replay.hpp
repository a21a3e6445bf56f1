#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "results/prediction.hpp"
#include "results/table.hpp"
#include "sim/policy/budget.hpp"
#include "sim/policy/policy.hpp"
#include "sim/policy/types.hpp"

// Replay: every policy at every budget on recorded prompts, judged by what the recorded future attends to.
//
// Goals: each layer of each prompt is read once for all policies and budgets (twice where an allocator
// revises earlier layers); what policies share is computed once; results do not depend on threads.
// Not goals: files (tables and retentions go to the caller), live models, eviction while decoding.
// It is open loop: the recorded attention came from the full cache, so what an eviction does to later
// layers and tokens is not seen.

namespace evictlab::sim {

/// One policy at one budget on one prompt, for those who keep the kept positions.
struct RetentionRecord {
  const Policy& policy;
  const Budget& budget;
  const trace::PromptInfo& prompt;
  const Retention& retention;
};

struct ReplayResult;

struct ReplayOptions {
  /// Called with layers done and to do, one call at a time, from any thread.
  std::function<void(double done, double total)> progress;
  /// Called for every feasible run in the order of the rows, one call at a time, from any thread.
  std::function<void(const RetentionRecord&)> retention;
  /// Which prompts of the source, by index; empty: all.
  std::vector<Index> prompts = {};
  /// Whether there are rows. Without them nothing is judged, and only `retention`, which must be set, is called.
  bool tables = true;
  /// Where in the prompt positions are kept: the tables `positions` and `spans`, which cost a glance at every kept
  /// position.
  bool positions = true;
  /// Rows of single layers. Without them `replay` and `spans` have those of layer = "all" alone, and `budgets`,
  /// `positions` and `trajectory` have none.
  bool layers = true;
  /// Measures of the full tier too. Without them their cells are empty, and queries, keys and values are read for
  /// policies alone: nearly all of the time where there are many runs (analysis::OutputReference).
  bool full_measures = true;
  /// Losses by distance from the prompt: the table `curves`, in the full tier.
  bool curves = true;
  /// How much better scoring and better allocation could do: the table `headroom`. Ranks all candidates.
  bool headroom = false;
  /// Foretells the KL divergence of every run; none: these cells are empty.
  const results::KlPredictor* predictor = nullptr;
  /// Called with each prompt's own result as soon as there is one, one call at a time, from any thread; then what
  /// replay returns has no rows.
  std::function<void(Index prompt, ReplayResult&& result)> finished = nullptr;
};

struct ReplayResult {
  /// One row per (prompt, policy, budget, layer), layers before layer = "all": the mean over the layers,
  /// of bytes and squared errors the sum. Columns of this and the other tables: results/schema.hpp.
  results::Table replay;
  /// Positions held per kept set.
  results::Table budgets;
  /// Where in the prompts they are: of a layer's kept slots, the share in each of 20 equal ranges of the prompt, mean
  /// over the prompts.
  results::Table positions;
  /// Of the prompt's named spans, the share of positions kept, mean over kept sets; of spans of one name (distractors)
  /// the mean. depth: where the first of them begins, 0 = at the prompt's beginning, 1 = at its end. A row per layer
  /// and for layer = "all".
  results::Table spans;
  /// What is held while the prompt is read: the bytes of all layers so far with this layer's cache still whole, and
  /// after this layer's eviction; the peak is the largest bytes_before.
  results::Table trajectory;
  /// What a run could gain in retained mass with the same slots, sim/replay/headroom.hpp: by the future's ranking, by
  /// the best counts for its own ranking (and a bound on that), by both. Empty cells where slots cannot be divided
  /// freely. Rows only where it was asked for; none of infeasible runs.
  results::Table headroom;
  /// How losses go on with the distance from the prompt: over all layers, a row for each stretch of the answer.
  results::Table curves;
  /// What policies have to say about how they went: on how many (prompt, budget), and about how many slots in all.
  struct NoteTotal {
    std::size_t runs = 0;
    double slots = 0.0;
  };
  std::map<std::string, NoteTotal> notes;  // "policy: text" → total
};

/// Throws PolicyError before reading any layer when a policy needs what a prompt lacks, layers included, when two
/// policies are the same, or when a prompt has no future to be judged by (T = 0). Throws core::Interrupted.
ReplayResult replay(const trace::Source& source, std::span<const Policy> policies, std::span<const Budget> budgets,
                    const ReplayOptions& options = {});

}  // namespace evictlab::sim
