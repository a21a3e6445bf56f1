#include "sim/policy/constraints.hpp"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/text.hpp"

namespace evictlab::sim {
namespace {

constexpr Index kMaxBlock = 4096;
constexpr std::string_view kNames = "protect, share, blocks, layers, budget_unit, evict_layer, evict_head";

std::optional<Index> count(std::string_view text) {
  const auto value = core::parse_integer(core::trim(text));
  if (!value || *value < 0 || *value > trace::kMaxPositions) return {};
  return *value;
}

Protection parse_protect(const std::string& policy, std::string_view text) {
  const std::size_t plus = text.find('+');
  if (plus != std::string_view::npos) {
    const auto sinks = count(text.substr(0, plus));
    const auto recent = count(text.substr(plus + 1));
    if (sinks && recent) return {*sinks, *recent};
  }
  throw PolicyError("policy '{}': protect must be sinks+window, such as 4+32, got '{}'", policy, text);
}

Granularity parse_share(const std::string& policy, std::string_view text) {
  if (text == "kv") return Granularity::kKvHead;
  if (text == "layer") return Granularity::kLayer;
  throw PolicyError("policy '{}': share must be kv or layer, got '{}'", policy, text);
}

Index parse_block(const std::string& policy, std::string_view text) {
  const auto size = count(text);
  if (size && *size >= 1 && *size <= kMaxBlock) return *size;
  throw PolicyError("policy '{}': blocks must be a whole number in 1..{}, got '{}'", policy, kMaxBlock, text);
}

/// An index of a layer or head.
Index parse_index(const std::string& policy, const std::string& key, std::string_view text) {
  const auto index = count(text);
  if (index) return *index;
  throw PolicyError("policy '{}': {} must be a whole number from 0, got '{}'", policy, key, text);
}

void demand_word(const std::string& policy, const std::string& key, std::string_view text, std::string_view word) {
  if (text != word) throw PolicyError("policy '{}': {} must be {}, got '{}'", policy, key, word, text);
}

}  // namespace

std::string Constraints::text() const {
  std::vector<std::string> items;
  if (protection) items.push_back(fmt::format("protect={}+{}", protection->sinks, protection->recent));
  if (share) items.push_back(fmt::format("share={}", granularity_name(*share)));
  if (block > 1) items.push_back(fmt::format("blocks={}", block));
  if (uniform_layers) items.emplace_back("layers=uniform");
  if (authors_unit) items.emplace_back("budget_unit=authors");
  if (!site.everywhere()) items.push_back(site.text());
  return fmt::format("{}", fmt::join(items, ","));
}

std::pair<KeyValues, Constraints> take_constraints(const PolicySpec& spec) {
  std::pair<KeyValues, Constraints> result;
  auto& [own, constraints] = result;
  for (const auto& [key, value] : spec.parameters) {
    if (key == "protect") {
      constraints.protection = parse_protect(spec.name, value);
    } else if (key == "share") {
      constraints.share = parse_share(spec.name, value);
    } else if (key == "blocks") {
      constraints.block = parse_block(spec.name, value);
    } else if (key == "layers") {
      demand_word(spec.name, key, value, "uniform");
      constraints.uniform_layers = true;
    } else if (key == "budget_unit") {
      demand_word(spec.name, key, value, "authors");
      constraints.authors_unit = true;
    } else if (key == "evict_layer") {
      constraints.site.layer = parse_index(spec.name, key, value);
    } else if (key == "evict_head") {
      constraints.site.head = parse_index(spec.name, key, value);
    } else {
      own.emplace_back(key, value);
    }
  }
  return result;
}

PolicySpec with_defaults(PolicySpec spec, const KeyValues& defaults) {
  for (const auto& [key, value] : defaults) {
    const bool given = std::any_of(spec.parameters.begin(), spec.parameters.end(),
                                   [&key = key](const auto& own) { return own.first == key; });
    if (!given) spec.parameters.emplace_back(key, value);
  }
  return spec;
}

Policy constrained(Policy policy, const Constraints& constraints) {
  policy.authors_unit = constraints.authors_unit;
  const AllocatorTraits traits = policy.allocator->traits();
  if (traits.keeps_everything) return policy;
  if (constraints.protection) {
    if (traits.protection) {
      throw ImpossiblePolicy("policy '{}': which positions it protects is the method itself, so no others can be",
                             policy.name);
    }
    policy.protection = *constraints.protection;
  }
  if (constraints.uniform_layers && !traits.equal_layers.name.empty()) {
    policy.allocator = make_allocator(traits.equal_layers);
  }
  if (constraints.share && *constraints.share != policy.granularity) {
    if (*constraints.share < policy.granularity) {
      throw ImpossiblePolicy("policy '{}' has one kept set per {}; share={} would need scores it does not give",
                             policy.name, granularity_words(policy.granularity), granularity_name(*constraints.share));
    }
    if (traits.budgets_per && *traits.budgets_per != *constraints.share) {
      throw ImpossiblePolicy("policy '{}' has budgets per {}, so share={} cannot be", policy.name,
                             granularity_words(*traits.budgets_per), granularity_name(*constraints.share));
    }
    policy.granularity = *constraints.share;
    if (policy.scorer) policy.scorer = shared_scorer(policy.scorer, policy.granularity);
    if (policy.refiner) policy.refiner = shared_scorer(policy.refiner, policy.granularity);
  }
  if (constraints.block > 1) {
    if (policy.selector->block() > 1 || policy.selector->ranking_depends_on_budget()) {
      throw ImpossiblePolicy("policy '{}': {} cannot select in blocks of {}", policy.name, policy.selector->identity(),
                             constraints.block);
    }
    policy.selector = make_selector({"blocks", {{"block", constraints.block}}});
    policy.block = constraints.block;
  }
  if (!constraints.site.everywhere()) return evicting_only_at(constraints.site, std::move(policy));
  return policy;
}

std::string protect_value(std::string_view text) {
  Protection protection;
  std::vector<std::string> seen;
  for (const std::string& item : core::split(text, ',')) {
    const std::size_t equals = item.find('=');
    const std::string key(core::trim(std::string_view(item).substr(0, equals)));
    const auto value = equals == std::string::npos ? std::nullopt : count(std::string_view(item).substr(equals + 1));
    if ((key != "sinks" && key != "window") || !value) {
      throw PolicyError("--protect must be sinks=<number>,window=<number>, got '{}'", text);
    }
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) {
      throw PolicyError("--protect '{}': {} is given twice", text, key);
    }
    seen.push_back(key);
    (key == "sinks" ? protection.sinks : protection.recent) = *value;
  }
  return fmt::format("{}+{}", protection.sinks, protection.recent);
}

KeyValues parse_constraints(std::string_view text) {
  const PolicySpec spec = parse_policy(fmt::format("constraints({})", text));
  if (spec.parameters.empty()) {
    throw PolicyError("constraints '{}': at least one of {} must be set", text, kNames);
  }
  const auto [others, constraints] = take_constraints(spec);
  if (others.empty()) return spec.parameters;
  throw PolicyError("constraints '{}': '{}' is none of {}", text, others.front().first, kNames);
}

}  // namespace evictlab::sim
