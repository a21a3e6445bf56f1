#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "results/statistics.hpp"
#include "results/table.hpp"

// What evicting in one layer, or in one kv head, costs, over prompts: computed from sensitivity.csv alone.

namespace evictlab::results {

/// What the column `head` says of rows in which all kv heads of the layer are evicted.
inline constexpr std::string_view kAllHeads = "all";

/// A published rule of how a budget is divided over layers: its column of shares, and its name in figures.
struct LayerRule {
  std::string_view column;
  std::string_view label;
};
/// The rules of sensitivity.csv, in the order of its columns.
const std::vector<LayerRule>& layer_rules();

/// The live KL divergence, which sensitivities are in where the model ran.
inline constexpr std::string_view kLiveKl = "kl";
/// The offline measure that stands for it where it did not run: the relative squared error, whose unit is the same in
/// all layers; the squared error where that was not measured. `table` has both columns.
std::string offline_sensitivity(const Table& table);

/// Means over prompts with bootstrap intervals, per task and over all prompts: a row per policy, budget, layer and
/// head (the schema's sensitivity_summary). Throws TableError for a column that is missing.
Table sensitivity_summary(const Table& sensitivity);

/// How the order of layers, and of kv heads, by each offline measure, published share and attention mass agrees with
/// their order by live KL divergence, and by offline_sensitivity() (the schema's sensitivity_agreement). Means over
/// prompts are ranked; intervals are over prompts, drawn with replacement. A quantity that a prompt lacks is ranked on
/// the others.
Table sensitivity_agreement(const Table& sensitivity, const BootstrapOptions& options = {});

}  // namespace evictlab::results
