#include "sim/replay/tuning.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "core/text.hpp"
#include "results/equal_slots.hpp"
#include "results/run_table.hpp"
#include "results/schema.hpp"
#include "sim/policy/registry.hpp"
#include "sim/policy/types.hpp"

namespace evictlab::sim {
namespace {

using results::Table;

constexpr std::size_t kMostCombinations = 4096;

std::vector<std::string> range_values(std::string_view item, const std::vector<std::string>& parts) {
  const auto fail = [&] {
    return PolicyError("--tune '{}': a range is first:last:log<count> or first:last:lin<count>, first < last", item);
  };
  if (parts.size() != 3 || parts[2].size() < 4) throw fail();
  const auto low = core::parse_number(parts[0]);
  const auto high = core::parse_number(parts[1]);
  const std::string kind = parts[2].substr(0, 3);
  const auto count = core::parse_integer(parts[2].substr(3));
  if (!low || !high || !count || *low >= *high || *count < 2 || *count > static_cast<Index>(kMostCombinations))
    throw fail();
  if ((kind != "log" && kind != "lin") || (kind == "log" && *low <= 0.0)) throw fail();
  std::vector<std::string> values;
  for (Index i = 0; i < *count; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(*count - 1);
    const double value = kind == "log" ? *low * std::pow(*high / *low, share) : *low + share * (*high - *low);
    std::string text = fmt::format("{:.3g}", value);
    if (values.empty() || values.back() != text) values.push_back(std::move(text));
  }
  return values;
}

PolicySpec with(PolicySpec spec, const std::string& name, const std::string& value) {
  for (auto& [key, old] : spec.parameters) {
    if (key != name) continue;
    old = value;
    return spec;
  }
  spec.parameters.emplace_back(name, value);
  return spec;
}

bool has_all(const PolicySpec& spec, std::span<const TunedParameter> grid) {
  const PolicyDefinition& definition = find_policy(spec.name).definition;
  const ParameterList list =
      definition.parameters_for ? definition.parameters_for(spec.parameters) : definition.parameters;
  return std::ranges::all_of(grid, [&](const TunedParameter& tuned) {
    return std::ranges::any_of(list.all(), [&](const Parameter& own) { return own.name == tuned.name; });
  });
}

/// Runs that measure the retained mass of all prompts, and which prompts parameters are selected on.
struct TuningRuns {
  std::vector<results::BudgetRuns> budgets;
  std::vector<std::string> prompts;
  std::set<std::string> chosen_on;
  results::SlotCurves curves;
};

TuningRuns tuning_runs(const Table& replay) {
  results::require_columns(replay, {"task", "layer", "retained_mass", "slots_held"});
  const std::vector<results::Run> runs = results::runs_over_layers(replay);
  return {results::by_budget(runs), results::prompts_of(runs), results::first_half(runs), results::SlotCurves(runs)};
}

/// The slots that a policy holds at a budget, if it serves all prompts.
std::optional<results::PromptSlots> held_on_all(const results::BudgetRuns& budget, const Policy& policy,
                                                std::size_t prompts) {
  const results::PolicyRuns* runs = budget.find({policy.name, policy.parameters});
  if (runs == nullptr) return std::nullopt;
  results::PromptSlots held;
  for (const results::Run& run : runs->runs) {
    if (run.slots_held && run[results::Measure::kRetainedMass]) held[run.prompt] = *run.slots_held;
  }
  return held.size() == prompts ? std::optional(std::move(held)) : std::nullopt;
}

using MassByPrompt = std::map<std::string, double>;

}  // namespace

std::vector<TunedParameter> parse_grid(std::string_view text) {
  std::vector<TunedParameter> grid;
  std::size_t combinations = 1;
  for (const std::string& item : split_list(text, "--tune")) {
    const std::size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == item.size()) {
      throw PolicyError("--tune '{}': expected name=value|value|... or name=first:last:log<count>", item);
    }
    TunedParameter tuned{std::string(core::trim(item.substr(0, equals))), {}};
    const std::string values = item.substr(equals + 1);
    const auto parts = core::split(values, ':');
    tuned.values = parts.size() > 1 ? range_values(item, parts) : core::split(values, '|');
    for (const TunedParameter& other : grid) {
      if (other.name == tuned.name) throw PolicyError("--tune '{}': {} is given twice", text, tuned.name);
    }
    combinations *= tuned.values.size();
    if (combinations > kMostCombinations) {
      throw PolicyError("--tune '{}': more than {} combinations", text, kMostCombinations);
    }
    grid.push_back(std::move(tuned));
  }
  return grid;
}

std::vector<TunedPolicy> tuned_policies(std::span<const PolicySpec> specs, std::span<const TunedParameter> grid) {
  std::vector<TunedPolicy> all;
  for (const PolicySpec& spec : specs) {
    if (!has_all(spec, grid)) continue;
    TunedPolicy tuned{make_policy(spec), {}};
    std::vector<PolicySpec> combinations = {spec};
    for (const TunedParameter& parameter : grid) {
      std::vector<PolicySpec> more;
      for (const PolicySpec& base : combinations) {
        for (const std::string& value : parameter.values) more.push_back(with(base, parameter.name, value));
      }
      combinations = std::move(more);
    }
    std::set<std::string> texts = {tuned.given.text()};
    for (const PolicySpec& combination : combinations) {
      Policy policy = make_policy(combination);
      if (texts.insert(policy.text()).second) tuned.candidates.push_back(std::move(policy));
    }
    all.push_back(std::move(tuned));
  }
  return all;
}

Table tuning(const Table& replay, std::span<const TunedPolicy> policies, const results::BootstrapOptions& options) {
  const TuningRuns runs = tuning_runs(replay);
  Table table = results::new_table("tune");
  for (const results::BudgetRuns& budget : runs.budgets) {
    for (const TunedPolicy& tuned : policies) {
      std::vector<const Policy*> candidates = {&tuned.given};
      for (const Policy& candidate : tuned.candidates) candidates.push_back(&candidate);
      const auto slots = held_on_all(budget, tuned.given, runs.prompts.size());
      if (!slots) continue;
      const auto masses_of = [&](const Policy& policy) {
        return runs.curves.values({policy.name, policy.parameters}, budget.budget_text, *slots,
                                  [](const results::Run& run) { return run[results::Measure::kRetainedMass]; });
      };
      const Policy* best = nullptr;
      double best_mass = 0.0;
      MassByPrompt chosen;
      for (const Policy* candidate : candidates) {
        if (!held_on_all(budget, *candidate, runs.prompts.size())) continue;
        auto own = masses_of(*candidate);
        if (!own) continue;
        double sum = 0.0;
        for (const std::string& prompt : runs.chosen_on) sum += own->at(prompt);
        const double mass = sum / static_cast<double>(runs.chosen_on.size());
        if (best != nullptr && mass <= best_mass) continue;
        best = candidate;
        best_mass = mass;
        chosen = std::move(*own);
      }
      const auto given = masses_of(tuned.given);
      if (best == nullptr || !given) continue;
      std::vector<double> own, as_given;
      for (const std::string& prompt : runs.prompts) {
        if (runs.chosen_on.contains(prompt)) continue;
        own.push_back(chosen.at(prompt));
        as_given.push_back(given->at(prompt));
      }
      results::Row row(table);
      set_run(row, {best->name, best->parameters}, best->role, budget.budget_text)
          .set("slots_held", budget.find({best->name, best->parameters})->mean_slots())
          .set("slots_compared", results::mean(results::values_of(*slots)))
          .set("prompts_chosen_on", runs.chosen_on.size())
          .set("retained_mass_chosen_on", best_mass)
          .set("prompts", own.size());
      if (!own.empty()) {  // a single prompt is all needed for choosing
        const auto gain = results::bootstrap_paired_difference(own, as_given, options);
        row.set("retained_mass", results::mean(own)).set("given_retained_mass", results::mean(as_given));
        set_interval(row, "gain", gain);
      }
      table.add_row(std::move(row));
    }
  }
  return table;
}

}  // namespace evictlab::sim
