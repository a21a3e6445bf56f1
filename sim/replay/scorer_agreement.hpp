#pragma once

#include <functional>
#include <span>

#include "results/table.hpp"
#include "sim/policy/policy.hpp"

namespace evictlab::sim {

/// Compares policies' scores with future attention: the table `scorers`. Spearman's rank correlation of importance with
/// the future's share over the unprotected positions, and recall, the share of the future's top set (max(1, round(top *
/// candidates)) positions) that is in the scorer's. Means over kept sets. Policies without a scorer, and prompts
/// without a future, have no rows. A scorer that several policies share is computed once. Rows come in order, whatever
/// the threads. Throws PolicyError when a prompt lacks what a policy reads, core::Interrupted.
results::Table scorer_table(const trace::Source& source, std::span<const Policy> policies, double top,
                            const std::function<void(double done, double total)>& progress = nullptr);

}  // namespace evictlab::sim
