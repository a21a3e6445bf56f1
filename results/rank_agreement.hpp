#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "results/calibration_data.hpp"
#include "results/prediction.hpp"

// How well measures put policies in the order of their live divergence: Kendall's tau-b, mean over budgets, with what
// draws of documents make of it.

namespace evictlab::results {

/// Against the order by mean KL, and by mean log KL, which no few prompts decide.
struct TauB {
  double mean_kl = 0.0;
  double log_kl = 0.0;
};

/// Of one measure.
struct RankAgreement {
  TauB same;                     // the measure on all prompts, against live on these prompts; has no ceiling
  std::vector<TauB> same_drawn;  // by draw of documents; none: too few documents
  std::optional<TauB> transfer;  // the measure on half of the documents, against live on the other; mean over halvings
  std::vector<double> transfer_drawn;  // by draw of documents, against mean KL
};

/// A map that foretells, learned from some documents.
struct ForetellingMap {
  Measure measure;
  KlMap map;
};

/// Halvings of the documents, and draws of documents with replacement; the same for all that is compared.
struct DocumentDraws {
  struct Halving {
    std::vector<bool> first;                // by prompt
    std::optional<ForetellingMap> learned;  // from the first half
  };
  std::vector<std::vector<std::size_t>> resampled;           // how often each prompt is drawn, by draw
  std::vector<std::vector<std::size_t>> transfer_resampled;  // the same
  std::vector<Halving> halvings;
  std::vector<std::optional<ForetellingMap>> held_out;  // by prompt, learned from the other folds' documents
};

/// Measures ranked on some prompts (those of a task) at some budgets. `among`: by prompt.
struct RankingScope {
  std::vector<const RankedBudget*> budgets;
  std::vector<bool> among;
  bool has_halves = true;  // enough documents for draws and halvings
};

/// Of a measure, or of predicted_kl by the maps of `draws`; nothing where a policy lacks what it needs.
std::optional<RankAgreement> rank_agreement(const RankingScope& scope, Measure measure, const DocumentDraws& draws);
/// The live order of one half against the live order of the other: what no measure's transfer can be expected to
/// exceed.
std::optional<RankAgreement> live_agreement(const RankingScope& scope, const DocumentDraws& draws);

}  // namespace evictlab::results
