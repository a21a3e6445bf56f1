#pragma once

#include "results/table.hpp"

namespace evictlab::results {

/// What differs between two recordings' layers.csv: per quantity and layer, for all prompts (task "all") and for every
/// task that both have. Layers are matched by number, by relative depth where the models differ in layers: `layer_b` is
/// the nearest of B. Where both have prompts of the same ids, these alone are compared, paired; else all of them, as
/// independent samples. The shares of a layer are compared as multiples of an even split as well (preference_relative,
/// retained_relative), and only so when the models differ in layers. Rows with quantity "preference_distance" and no
/// layer: half the summed absolute difference of the two models' mean preference shares (total variation, 0..1), B's
/// layers added up at their nearest of A.
/// task,quantity,layer_a,layer_b,mean_a,mean_b,difference,low,high,paired,prompts_a,prompts_b
/// difference = a - b with its 95 % bootstrap interval; a distance is biased upward when there are few prompts.
Table difference_table(const Table& layers_a, const Table& layers_b);

}  // namespace evictlab::results
