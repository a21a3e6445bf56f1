#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/losses.hpp"
#include "sim/policy/policy.hpp"
#include "trace/model.hpp"

// What a policy is fitted from: of every recorded prompt, layer, kv head, scorer and protection, what the layer loses
// when that head alone holds only so many positions. The losses of single heads add up to a policy's but for their
// cross terms.

namespace evictlab::sim {

/// The unit of losses: squared error of the layer's output, relative to that output, to the residual stream that it is
/// added to, or as it is (full tier); KL divergence to second order (analysis/fisher.hpp; recorded gradients); or
/// attention mass (LU-KV's unit: arXiv:2602.08585), which any tier has.
enum class LossUnit { kOutput, kStream, kSquared, kFisher, kMass };
/// "output", "stream", "squared", "fisher", "mass".
std::string_view loss_unit_name(LossUnit unit);

/// One way in which a head can choose what it holds.
struct FitCandidate {
  std::size_t scorer = 0;  // of FitScorers
  Protection protection;
};

/// A scorer and the policy that it is taken from, which names it in files.
struct FitScorer {
  std::string policy;  // its text
  std::shared_ptr<const Scorer> scorer;
};
/// The scorer of a policy. Throws as fittable_scorer() does.
FitScorer fit_scorer(const Policy& policy);

/// Every scorer under every protection: first positions 0, 1, 4; last ones 0, 4, 8, 16, 32, 64, and what its window
/// leaves unscored, where that many are needed.
std::vector<FitCandidate> fit_candidates(std::span<const FitScorer> scorers);

/// Counts at which losses are measured, up to the first that is no less than `longest`: 1, 2, 3, 4, 6, 8, 12, ...
std::vector<Index> fit_counts(Index longest);

/// One prompt's curves.
struct PromptCurves {
  std::string prompt;
  std::string document;
  std::string task;
  Index length = 0;
  std::vector<Index> visible;  // [L] positions that can be held
  std::vector<float> losses;   // [L][G][candidates][counts]; 0 where everything visible is held
};

struct LossCurves {
  Index layers = 0;
  Index kv_heads = 0;
  std::vector<FitCandidate> candidates;
  std::vector<Index> counts;
  std::vector<PromptCurves> prompts;

  /// Of one head and candidate, [counts].
  std::span<const float> curve(const PromptCurves& prompt, std::size_t head, std::size_t candidate) const {
    const std::size_t index = (head * candidates.size() + candidate) * counts.size();
    return std::span(prompt.losses).subspan(index, counts.size());
  }
};

/// Measures the curves of prompts, given by index, each layer read once. The result does not depend on threads. Throws
/// PolicyError when a prompt lacks what a scorer or the unit reads, or records only some layers; core::Interrupted.
LossCurves measure_loss_curves(const trace::Source& source, std::span<const Index> prompts,
                               std::span<const FitScorer> scorers, LossUnit unit,
                               const std::function<void(double done, double total)>& progress);

}  // namespace evictlab::sim
