#include "sim/policy/compose.hpp"

#include <algorithm>

#include "core/text.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

template <typename Kind>
std::vector<PartInfo<Kind>> offered_parts() {
  std::vector<PartInfo<Kind>> offered;
  for (const PartInfo<Kind>& part : parts<Kind>()) {
    if (part.definition.offered) offered.push_back(part);
  }
  return offered;
}

template <typename Kind>
std::vector<std::string> names_of(std::span<const PartInfo<Kind>> parts) {
  std::vector<std::string> names;
  for (const auto& part : parts) names.push_back(part.name);
  return names;
}

// The part that `given` names under `key`, or the first.
template <typename Kind>
const PartInfo<Kind>& chosen(std::span<const PartInfo<Kind>> parts, std::string_view key, const KeyValues& given) {
  for (const auto& [name, value] : given) {
    if (name != key) continue;
    const auto found = std::find_if(parts.begin(), parts.end(),
                                    [&value = value](const PartInfo<Kind>& part) { return part.name == value; });
    if (found != parts.end()) return *found;
    throw PolicyError("policy 'compose': unknown {} '{}'{}", key, value, core::suggestion(value, names_of(parts)));
  }
  return parts.front();
}

Policy composed_policy(const Parameters& given) {
  PolicyParts parts{.scorer = {given.choice("scorer")},
                    .allocator = {given.choice("allocator")},
                    .selector = {given.choice("selector")},
                    .protection = protection_from(given)};
  Policy policy = assembled(given, parts);
  if (policy.selector->needs_refinement()) {
    const bool by_layer = policy.granularity == Granularity::kLayer;
    const char* axis = policy.granularity == Granularity::kQueryHead ? "query" : "kv";
    policy.refiner = make_scorer({"output-norm", {{"axis", axis}}});
    if (by_layer) policy.refiner = shared_scorer(policy.refiner, Granularity::kLayer);
  }
  return policy;
}

}  // namespace

std::span<const PartInfo<Scorer>> scorers() {
  static const std::vector<PartInfo<Scorer>> table = offered_parts<Scorer>();
  return table;
}

std::span<const PartInfo<Allocator>> allocators() {
  static const std::vector<PartInfo<Allocator>> table = offered_parts<Allocator>();
  return table;
}

std::span<const PartInfo<Selector>> selectors() {
  static const std::vector<PartInfo<Selector>> table = offered_parts<Selector>();
  return table;
}

std::vector<std::string> compose_matrix() {
  std::vector<std::string> matrix;
  for (const auto& scorer : scorers()) {
    for (const auto& allocator : allocators()) {
      if (scorer.definition.from_file || allocator.definition.from_file) continue;
      for (const auto& selector : selectors()) {
        matrix.push_back(
            fmt::format("compose(scorer={},allocator={},selector={})", scorer.name, allocator.name, selector.name));
      }
    }
  }
  return matrix;
}

namespace {

// Adds the parameters of a composition's parts. Where the composition or two parts have one of the same name but with
// another default, each part has its own, with its kind before the name, so that a part is the same in every
// composition.
class PartParameters {
 public:
  explicit PartParameters(const ParameterList& own) : own_(own) {}
  void add(const char* kind, const ParameterList& parameters) { parts_.emplace_back(kind, &parameters); }

  ParameterList all() const {
    ParameterList all = own_;
    for (const auto& [kind, list] : parts_) {
      for (Parameter parameter : list->all()) {
        if (is_disputed(parameter)) {
          parameter.family = parameter.name;
          parameter.name = qualified_name(kind, parameter.name);
        }
        if (!all.declares(parameter.name)) all.add(std::move(parameter));
      }
    }
    return all;
  }

 private:
  static bool disagrees(const ParameterList& list, const Parameter& parameter) {
    return list.declares(parameter.name) && list.at(parameter.name).default_value != parameter.default_value;
  }
  bool is_disputed(const Parameter& parameter) const {
    return disagrees(own_, parameter) ||
           std::ranges::any_of(parts_, [&](const auto& part) { return disagrees(*part.second, parameter); });
  }

  ParameterList own_;
  std::vector<std::pair<const char*, const ParameterList*>> parts_;
};

}  // namespace

ParameterList compose_parameters(const KeyValues& given) {
  ParameterList own;
  own.choice("scorer", names_of(scorers()), "what a position is worth")
      .choice("allocator", names_of(allocators()), "how many positions each layer and head keeps")
      .choice("selector", names_of(selectors()), "which positions these are")
      .add(sinks_parameter())
      .integer("window", 32, {0, kMaxPositions}, "last positions kept in any case, and the queries that vote");
  PartParameters parameters(own);
  parameters.add("scorer", chosen(scorers(), "scorer", given).definition.parameters);
  parameters.add("allocator", chosen(allocators(), "allocator", given).definition.parameters);
  parameters.add("selector", chosen(selectors(), "selector", given).definition.parameters);
  return parameters.all();
}

PolicyDefinition compose() {
  return {.description = "any scorer with any allocator and selector, to tell which part of a method earns its gain",
          .source = "own",
          .parameters = compose_parameters({}),
          .parameters_for = compose_parameters,
          .build = composed_policy};
}

}  // namespace evictlab::sim
