#include <fmt/format.h>

#include <iostream>

#include "cli/options.hpp"
#include "sim/registry.hpp"

namespace evictlab::cli {
namespace {

void print_policy(const sim::PolicyInfo& policy) {
  std::cout << policy.name;
  if (!policy.paper.empty()) std::cout << "  " << policy.paper;
  std::cout << "\n    " << policy.definition.description << '\n';
  if (policy.definition.source != "own") std::cout << "    after " << policy.definition.source << '\n';
  for (const sim::Parameter& parameter : policy.definition.parameters.all()) {
    std::cout << fmt::format("    {:<24} {} ({})\n", parameter.name + "=" + sim::value_text(parameter.default_value),
                             parameter.help, sim::allowed_text(parameter));
  }
}

}  // namespace

int run_policies(const Arguments& arguments) {
  Options options(
      "policies", "[NAME ...]",
      "Lists the eviction policies with what they do, whose code or paper they follow, and every parameter\n"
      "with its default and range.");
  options.positional("names", "only these", Options::Count::kMany);
  if (!options.parse(arguments)) return 0;
  std::vector<const sim::PolicyInfo*> wanted;
  for (const std::string& name : options.list("names")) wanted.push_back(&sim::find_policy(name));
  if (wanted.empty()) {
    for (const sim::PolicyInfo& policy : sim::policies()) wanted.push_back(&policy);
  }
  for (const sim::PolicyInfo* policy : wanted) print_policy(*policy);
  return 0;
}

}  // namespace evictlab::cli
