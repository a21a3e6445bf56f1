#include "sim/replay/tuning.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "core/text.hpp"
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

// Retained mass by budget, policy text and prompt, where feasible; and which prompts each half has.
struct Masses {
  std::map<std::pair<std::string, std::string>, std::map<std::string, std::pair<double, double>>> of;  // mass, slots
  std::vector<std::string> budgets;
  std::vector<std::string> prompts;
  std::set<std::string> chosen_on;
};

Masses read(const Table& replay) {
  Masses masses;
  std::map<std::string, std::size_t> of_task;
  std::set<std::string> seen_budgets;
  std::set<std::string> seen_prompts;
  const auto column = [&](const char* name) { return replay.column(name); };
  const std::size_t prompt = column("prompt"), task = column("task"), policy = column("policy"),
                    parameters = column("parameters"), budget = column("budget_requested"), layer = column("layer"),
                    mass = column("retained_mass"), slots = column("slots_held");
  for (std::size_t row = 0; row < replay.rows(); ++row) {
    if (replay.text(row, layer) != "all") continue;
    const std::string id = replay.text(row, prompt);
    if (seen_prompts.insert(id).second) {
      masses.prompts.push_back(id);
      if (of_task[replay.text(row, task)]++ % 2 == 0) masses.chosen_on.insert(id);
    }
    if (seen_budgets.insert(replay.text(row, budget)).second) masses.budgets.push_back(replay.text(row, budget));
    const auto value = replay.number(row, mass);
    if (!value) continue;
    const std::string text = fmt::format("{}({})", replay.text(row, policy), replay.text(row, parameters));
    masses.of[{replay.text(row, budget), text}][id] = {*value, replay.number(row, slots).value_or(0.0)};
  }
  return masses;
}

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
  const Masses masses = read(replay);
  Table table({"budget_requested", "policy", "parameters", "slots_held", "prompts_chosen_on", "retained_mass_chosen_on",
               "prompts", "retained_mass", "given_retained_mass", "gain", "gain_low", "gain_high"});
  for (const std::string& budget : masses.budgets) {
    for (const TunedPolicy& tuned : policies) {
      std::vector<const Policy*> candidates = {&tuned.given};
      for (const Policy& candidate : tuned.candidates) candidates.push_back(&candidate);
      const Policy* best = nullptr;
      double best_mass = 0.0;
      for (const Policy* candidate : candidates) {
        const auto found = masses.of.find({budget, candidate->text()});
        if (found == masses.of.end() || found->second.size() != masses.prompts.size()) continue;
        double sum = 0.0;
        for (const std::string& prompt : masses.chosen_on) sum += found->second.at(prompt).first;
        const double mass = sum / static_cast<double>(masses.chosen_on.size());
        if (best == nullptr || mass > best_mass) std::tie(best, best_mass) = std::pair(candidate, mass);
      }
      const auto given = masses.of.find({budget, tuned.given.text()});
      if (best == nullptr || given == masses.of.end() || given->second.size() != masses.prompts.size()) continue;
      const auto& chosen = masses.of.at({budget, best->text()});
      std::vector<double> own, as_given;
      double slots = 0.0;
      for (const std::string& prompt : masses.prompts) {
        slots += chosen.at(prompt).second;
        if (masses.chosen_on.contains(prompt)) continue;
        own.push_back(chosen.at(prompt).first);
        as_given.push_back(given->second.at(prompt).first);
      }
      std::vector<results::Cell> cells = {budget,
                                          best->name,
                                          best->parameters,
                                          slots / static_cast<double>(masses.prompts.size()),
                                          static_cast<std::int64_t>(masses.chosen_on.size()),
                                          best_mass,
                                          static_cast<std::int64_t>(own.size())};
      if (own.empty()) {  // a single prompt is all needed for choosing
        cells.insert(cells.end(), 5, results::Cell());
      } else {
        const auto gain = results::bootstrap_paired_difference(own, as_given, options);
        cells.insert(cells.end(), {results::mean(own), results::mean(as_given), gain.mean, gain.low, gain.high});
      }
      table.add_row(std::move(cells));
    }
  }
  return table;
}

}  // namespace evictlab::sim
