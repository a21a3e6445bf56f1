#pragma once

#include "results/statistics.hpp"
#include "results/table.hpp"

namespace evictlab::results {

/// What validate.csv comes to: a row per turn, task ("all": over all prompts; the others where there are several),
/// budget, policy and quantity, over the prompts on which the policy is feasible. Columns:
///
///   turn,task,budget_requested,policy,parameters,quantity,prompts,mean,low,high   bootstrap interval over prompts
///   to_full,to_full_low,to_full_high     minus the full cache's, paired, on the prompts both have
///   to_best,to_best_low,to_best_high     minus the best policy's, where a quantity has a best; `full` and `oracle`,
///   the
///                                        ends of the scale, are no best, and have none
///
/// Quantities: kl, nll (lower is better), top1_agreement, accuracy, accuracy_after_first (higher), output_length; and
/// of slots_held, bytes, peak_bytes, decode_ms, tokens_per_second the mean alone. Rows in the order of the table; no
/// row for what was not measured. Throws TableError when a column is missing.
Table outcomes(const Table& validate, const BootstrapOptions& options = {});

}  // namespace evictlab::results
