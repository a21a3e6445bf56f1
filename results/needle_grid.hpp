#pragma once

#include "results/table.hpp"

namespace evictlab::results {

/// What became of answers whose place in the prompt is known, beside what replay says is kept of it: the table
/// `needles`, a row for every prompt with a span `needle`, policy and budget, from validate.csv (first turn) and
/// spans.csv (rows over all layers). Where prompts say themselves how deep they ask (`depth`), only those that do.
/// accuracy: accuracy_after_first. depth: as spans.csv has it, 0 = at the prompt's beginning. Throws TableError when a
/// column is missing.
Table needle_grid(const Table& validate, const Table& spans);

}  // namespace evictlab::results
