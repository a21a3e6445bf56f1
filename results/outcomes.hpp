#pragma once

#include "results/statistics.hpp"
#include "results/table.hpp"

namespace evictlab::results {

/// What validate.csv comes to: the table `outcomes`, a row per turn, task ("all": over all prompts; the others where
/// there are several), budget, policy and quantity, over the prompts on which the policy is feasible. Quantities: kl,
/// nll (lower is better), top1_agreement, accuracy, accuracy_after_first (higher), output_length; and of slots_held,
/// bytes, peak_bytes, decode_ms, tokens_per_second the mean alone. to_best compares with the best method: controls and
/// ceilings do not compete. Rows in the order of the table; no row for what was not measured. Throws TableError when a
/// column is missing.
Table outcomes(const Table& validate, const BootstrapOptions& options = {});

}  // namespace evictlab::results
