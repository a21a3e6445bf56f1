#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/window_statistics.hpp"
#include "trace/layer.hpp"

// CAKE's formulas (Qin et al. 2025, arXiv:2503.12491; antgroup/cakekv@c4675ce): how much a layer prefers to hold, and
// whole budgets from these preferences.

namespace evictlab::sim {

using trace::Index;

/// Dispersion and shift of a layer's attention in the last `window` rows, over the positions before the window that are
/// in sight, summed over the query heads. Both 0 when there are none.
analysis::AttentionSpread cake_spread(const trace::LayerView& layer, Index window);

/// Layer preference P = dispersion^(1/tau1) * shift^(1/tau2); tau1, tau2 > 0.
double cake_preference(const analysis::AttentionSpread& spread, double tau1, double tau2);
double cake_preference(const trace::LayerView& layer, Index window, double tau1, double tau2);

/// Whole budgets from shares `raw` of `total`, as the authors' code rounds them: cut to whole numbers; what exceeds the
/// cap is spread equally over the layers below it, once; what is missing to the total (or too much) likewise, the
/// first layers getting one more. A layer may end above its cap, and the sum below the total.
std::vector<Index> cake_adjusted_budgets(std::span<const double> raw, Index total, Index cap);
/// The same where each layer has its own cap.
std::vector<Index> cake_adjusted_budgets(std::span<const double> raw, Index total, std::span<const Index> caps);

/// Exactly min(total, sum of most) slots, or the sum of least when that is more: after `least[l]` each, one by one to
/// the layer with the largest weights[l] / (b_l + 1) of those below most[l] (D'Hondt; equal quotients: the lower
/// layer). A further layer takes from the others and gives to none. Weights >= 0 and finite; all 0 counts as all equal.
std::vector<Index> divisor_budgets(std::span<const double> weights, Index total, std::span<const Index> least,
                                   std::span<const Index> most);

struct CakeTemperatures {
  double tau1 = 1.0;
  double tau2 = 1.0;
};
/// The models that the authors publish temperatures of.
std::vector<std::string> cake_models();
/// Those of a model at a capacity per layer (1024 or 128, the window included); none for any other.
std::optional<CakeTemperatures> cake_temperatures(std::string_view model, Index capacity);

}  // namespace evictlab::sim
