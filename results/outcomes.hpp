#pragma once

#include "results/statistics.hpp"
#include "results/table.hpp"

namespace evictlab::results {

/// Summarizes validate.csv: the table `outcomes`, a row per turn, task ("all": over all prompts; the others where there
/// are several), budget, policy and quantity, over the prompts on which the policy is feasible. Quantities: kl, nll
/// (lower is better), top1_agreement, accuracy, accuracy_after_first (higher), output_length; and of slots_held, bytes,
/// peak_bytes, decode_ms, tokens_per_second the mean alone. to_best compares with the best method at equal held slots
/// (SlotCurves): controls and ceilings do not compete. A policy whose budgets do not reach these slots is compared at
/// those that it holds, where the best method's budgets reach them. Rows in the order of the table; no row for what was
/// not measured. Throws TableError when a column is missing.
Table outcomes(const Table& validate, const BootstrapOptions& options = {});

/// Joins the accuracy of needle answers with how much of the needle replay keeps: the table `needles`, a row for every
/// prompt with a span `needle`, policy and budget, from validate.csv (first turn) and spans.csv (rows over all layers).
/// Where some prompts state their depth (`depth`), only those that do. accuracy: accuracy_after_first. depth: as in
/// spans.csv, 0 = at the prompt's beginning. Throws TableError when a column is missing.
Table needle_grid(const Table& validate, const Table& spans);

}  // namespace evictlab::results
