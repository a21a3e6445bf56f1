#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/options.hpp"
#include "lab/result_folder.hpp"
#include "sim/policy/compose.hpp"
#include "sim/policy/registry.hpp"
#include "sim/policy/scores_from.hpp"

namespace evictlab::cli {
namespace {

using Json = nlohmann::ordered_json;

/// What the policy reads with its defaults; empty where a file says it.
std::vector<std::string> needs_of(const sim::PolicyInfo& policy) {
  std::vector<std::string> names;
  if (policy.definition.from_file) return names;
  const sim::Needs needs = sim::make_policy(policy.name).needs();
  for (const trace::Field field : trace::kAllFields) {
    if (needs.fields.contains(field)) names.emplace_back(trace::field_name(field));
  }
  if (needs.output_weight) names.emplace_back("output_weight");
  return names;
}

void print_parameters(const std::vector<sim::Parameter>& parameters) {
  for (const sim::Parameter& parameter : parameters) {
    std::cout << fmt::format("    {:<24} {} ({})\n", parameter.name + "=" + sim::value_text(parameter.default_value),
                             parameter.help, sim::allowed_text(parameter));
  }
}

template <typename Part>
void print_parts(const char* kind, std::span<const sim::PartInfo<Part>> parts) {
  for (const auto& part : parts) {
    std::cout << fmt::format("    {}={:<20} {}\n", kind, part.name, part.definition.description);
    for (const sim::Parameter& parameter : part.definition.parameters.all()) {
      std::cout << fmt::format("        {:<24} {} ({})\n",
                               parameter.name + "=" + sim::value_text(parameter.default_value), parameter.help,
                               sim::allowed_text(parameter));
    }
  }
}

void print_policy(const sim::PolicyInfo& policy) {
  const sim::PolicyDefinition& definition = policy.definition;
  std::cout << policy.name;
  if (!policy.paper.empty()) std::cout << "  " << policy.paper;
  std::cout << "\n    " << definition.description << '\n';
  if (definition.source != "own") std::cout << "    after " << definition.source << '\n';
  if (definition.parameters_for) {
    print_parameters({definition.parameters.at("sinks"), definition.parameters.at("window")});
    std::cout << "    Parts with different defaults for one parameter have each their own: "
                 "scorer.block=8,selector.block=16;\n"
                 "    block=8 sets both.\n";
    print_parts("scorer", sim::scorers());
    print_parts("allocator", sim::allocators());
    print_parts("selector", sim::selectors());
    return;
  }
  print_parameters(definition.parameters.all());
  for (const sim::Variant& variant : definition.variants) {
    if (definition.variants.size() == 1) break;
    std::string defaults;
    for (const auto& [key, value] : variant.defaults) defaults += fmt::format(" {}={}", key, value);
    std::cout << fmt::format("    variant={:<16} {}{}\n", variant.name, variant.source,
                             defaults.empty() ? "" : ";" + defaults);
  }
}

void print_brief(const sim::PolicyInfo& policy) {
  std::cout << fmt::format("{:<20} {:<18} {}\n", policy.name, policy.paper, policy.definition.description);
}

Json json_of(const sim::ParameterList& parameters) {
  Json list = Json::array();
  for (const sim::Parameter& parameter : parameters.all()) {
    Json item = {{"name", parameter.name}};
    std::visit([&](const auto& value) { item["default"] = value; }, parameter.default_value);
    item["allowed"] = sim::allowed_text(parameter);
    item["help"] = parameter.help;
    list.push_back(std::move(item));
  }
  return list;
}

template <typename Part>
Json json_of(std::span<const sim::PartInfo<Part>> parts) {
  Json list = Json::array();
  for (const auto& part : parts) {
    list.push_back({{"name", part.name},
                    {"description", part.definition.description},
                    {"parameters", json_of(part.definition.parameters)}});
  }
  return list;
}

Json json_of(const sim::PolicyInfo& policy) {
  const sim::PolicyDefinition& definition = policy.definition;
  Json variants = Json::array();
  for (const sim::Variant& variant : definition.variants) {
    Json defaults = Json::object();
    for (const auto& [key, value] : variant.defaults) defaults[key] = value;
    variants.push_back({{"name", variant.name}, {"source", variant.source}, {"defaults", defaults}});
  }
  Json json = {{"name", policy.name},       {"description", definition.description},
               {"paper", policy.paper},     {"source", definition.source},
               {"needs", needs_of(policy)}, {"parameters", json_of(definition.parameters)},
               {"variants", variants}};
  if (!definition.from_file) {
    json["scores_from"] = sim::scores_from_name(sim::scores_from(sim::make_policy(policy.name).prompt_needs()));
  }
  if (definition.parameters_for) {
    json["scorers"] = json_of(sim::scorers());
    json["allocators"] = json_of(sim::allocators());
    json["selectors"] = json_of(sim::selectors());
  }
  return json;
}

}  // namespace

int run_policies(const Arguments& arguments) {
  Options options("policies", "[NAME ...] [--json]",
                  "Lists the eviction policies. With names: whose code or paper they follow, every parameter with its\n"
                  "default and range, and the variants with what they default to.");
  options.positional("names", "only these, in full", Options::Count::kMany);
  options.flag("json", "everything, for programs");
  if (!options.parse(arguments)) return 0;
  std::vector<const sim::PolicyInfo*> wanted;
  for (const std::string& name : options.list("names")) wanted.push_back(&sim::find_policy(name));
  const bool brief = wanted.empty();
  if (brief) {
    for (const sim::PolicyInfo& policy : sim::policies()) wanted.push_back(&policy);
  }
  if (options.has("json")) {
    Json list = Json::array();
    for (const sim::PolicyInfo* policy : wanted) list.push_back(json_of(*policy));
    std::cout << lab::json_text(list, 2);
    return 0;
  }
  for (const sim::PolicyInfo* policy : wanted) brief ? print_brief(*policy) : print_policy(*policy);
  if (brief) {
    std::cout << "\nAny policy also takes protect=S+W, share=kv|layer, blocks=N, layers=uniform, budget_unit=authors,\n"
                 "evict_layer=L, evict_head=G.\n"
                 "evictlab policies NAME tells a policy's parameters, variants and sources.\n";
  }
  return 0;
}

}  // namespace evictlab::cli
