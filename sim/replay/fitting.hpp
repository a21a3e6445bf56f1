#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sim/policy/fitted.hpp"
#include "sim/replay/loss_curves.hpp"

// Fits a policy to measured loss curves. Per head, curves are averaged over a task's prompts and then over tasks; the
// budgets that follow from them say at which counts heads will be, and there the best scorer and protection are chosen,
// in turns. What is chosen beyond that (one scorer for the model, or one per layer or head; the weight of equal
// budgets; the axis that curves are averaged along) is chosen by cross-validation: over tasks where there are three or
// more, else over documents. Prompts of a document are never on two sides.

namespace evictlab::sim {

/// Who has a scorer of its own.
enum class ScorerLevel { kModel, kLayer, kHead };
/// "model", "layer", "head".
std::string_view scorer_level_name(ScorerLevel level);

/// What a choice is judged by over tasks: the mean of the losses relative to each task's best, or their largest.
enum class TaskRule { kMean, kWorst };

struct FitSettings {
  std::vector<double> slots;  // budgets at which choices are made, per kv head, averaged over the layers
  FittedUnit per = FittedUnit::kHead;
  Index block = 1;
  TaskRule tasks = TaskRule::kWorst;
  std::function<void(double done, double total)> progress = nullptr;  // of the cross-validation, in fits
};

/// Which scorers a fit may use: `scorer` everywhere where the level is the model, else all, each where it is best.
struct FitChoice {
  ScorerLevel level = ScorerLevel::kModel;
  std::size_t scorer = 0;

  friend bool operator==(const FitChoice&, const FitChoice&) = default;
};

/// How one choice did on documents that it was not fitted to.
struct FitTrial {
  FitChoice choice = {};
  double uniform_weight = 0.0;
  CurveAxis axis = CurveAxis::kCount;
  std::string task = {};  // "all": mean over tasks
  double slots = 0.0;
  double loss = 0.0;  // mean over prompts, sum over heads
};

struct Fit {
  FittedPolicy fitted;  // but for what only the trace knows: model, traces, digest
  FitChoice choice;
  Index length = 0;              // prompt positions in the middle of those fitted to
  bool cross_validated = false;  // there were two documents or more
  std::vector<FitTrial> trials;  // held out, of every choice that was compared; none without cross-validation
};

/// Fits to the prompts of `curves`. Throws PolicyError when there are none; core::Interrupted.
Fit fit_policy(const LossCurves& curves, std::span<const FitScorer> scorers, const trace::ModelInfo& model,
               const FitSettings& settings);

/// Sum over heads of a prompt's own curves at the budgets that a fitted policy gives it: what its single heads lose.
/// `candidates` [L * G] are those of its heads.
double loss_on(const LossCurves& curves, const PromptCurves& prompt, std::span<const std::size_t> candidates,
               std::span<const Index> budgets);

}  // namespace evictlab::sim
