#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lab/observer.hpp"
#include "plots/report/look.hpp"
#include "results/table.hpp"
#include "sim/policy/budget.hpp"
#include "sim/policy/policy.hpp"
#include "trace/model.hpp"

namespace evictlab::lab {

/// What the report shows of single prompts.
struct LookSettings {
  std::vector<sim::Policy> policies;
  std::vector<std::string> labels;  // [policies]
  std::vector<sim::Budget> budgets;
  std::function<std::string(std::int32_t token)> text;  // of a token
  std::size_t prompts_per_task = 2;
  std::size_t bytes = 5'000'000;  // of all prompts' arrays, about: what it is pooled to
};

/// A few prompts, each task's whose needles the policies treat most differently (`spans`: the replay's spans.csv), else
/// its first ones. The kept sets are those of a replay of these prompts, so they are the ones that are judged. Throws
/// sim::PolicyError where a policy cannot be replayed, core::Interrupted.
plots::Look make_look(const trace::Source& trace, const LookSettings& settings,
                      const std::optional<results::Table>& spans, Observer& observer);

}  // namespace evictlab::lab
