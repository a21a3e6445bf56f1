#include "sim/policy/part.hpp"

#include <algorithm>
#include <stdexcept>

#include "results/labels.hpp"
#include "sim/policy/allocator.hpp"
#include "sim/policy/decoding.hpp"
#include "sim/policy/scorer.hpp"
#include "sim/policy/selector.hpp"

namespace evictlab::sim {

// Every .def file is expanded twice: here into declarations, below into rows of a table.
#define EVICTLAB_SCORER(function, name) ScorerDefinition function();
#include "scorers.def"
#undef EVICTLAB_SCORER
#define EVICTLAB_ALLOCATOR(function, name) AllocatorDefinition function();
#include "allocators.def"
#undef EVICTLAB_ALLOCATOR
#define EVICTLAB_SELECTOR(function, name) SelectorDefinition function();
#include "selectors.def"
#undef EVICTLAB_SELECTOR
#define EVICTLAB_DECODER(function, name) DecoderDefinition function();
#include "decoders.def"
#undef EVICTLAB_DECODER

template <>
std::span<const PartInfo<Scorer>> parts() {
  static const std::vector<PartInfo<Scorer>> table = {
#define EVICTLAB_SCORER(function, name) {name, function()},
#include "scorers.def"
#undef EVICTLAB_SCORER
  };
  return table;
}

template <>
std::span<const PartInfo<Allocator>> parts() {
  static const std::vector<PartInfo<Allocator>> table = {
#define EVICTLAB_ALLOCATOR(function, name) {name, function()},
#include "allocators.def"
#undef EVICTLAB_ALLOCATOR
  };
  return table;
}

template <>
std::span<const PartInfo<Selector>> parts() {
  static const std::vector<PartInfo<Selector>> table = {
#define EVICTLAB_SELECTOR(function, name) {name, function()},
#include "selectors.def"
#undef EVICTLAB_SELECTOR
  };
  return table;
}

template <>
std::span<const PartInfo<DecodeRule>> parts() {
  static const std::vector<PartInfo<DecodeRule>> table = {
#define EVICTLAB_DECODER(function, name) {name, function()},
#include "decoders.def"
#undef EVICTLAB_DECODER
  };
  return table;
}

namespace {

template <typename Kind>
const PartInfo<Kind>& find_part(std::string_view kind, std::string_view name) {
  const auto all = parts<Kind>();
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& info) { return info.name == name; });
  if (found != all.end()) return *found;
  throw std::logic_error("there is no " + std::string(kind) + " '" + std::string(name) + "'");
}

// The values of a part's parameters: those that the choice sets, then those of the policy's own parameters of the same
// names, with or without the part's kind before them.
KeyValues values_of(std::string_view kind, const PartChoice& choice, const ParameterList& offered,
                    const Parameters* policy) {
  KeyValues values;
  for (const auto& [name, value] : choice.settings) values.emplace_back(name, value_text(value));
  for (const Parameter& parameter : offered.all()) {
    const bool is_set =
        std::any_of(values.begin(), values.end(), [&](const auto& other) { return other.first == parameter.name; });
    if (is_set || policy == nullptr) continue;
    for (const std::string& name : {qualified_name(kind, parameter.name), parameter.name}) {
      if (!policy->declares(name)) continue;
      values.emplace_back(parameter.name, value_text(policy->value(name)));
      break;
    }
  }
  return values;
}

Parameters parameters_of(const std::string& owner, const ParameterList& declared, const KeyValues& values) {
  for (const auto& [name, value] : values) {
    if (!declared.declares(name)) throw std::logic_error(owner + " has no parameter '" + name + "'");
  }
  try {
    return {owner, declared, values};
  } catch (const PolicyError& error) {
    throw ImpossiblePolicy("{}", error.what());
  }
}

template <typename Kind>
std::shared_ptr<const Kind> make_part(const char* kind, const PartChoice& choice, const Parameters* policy) {
  const PartInfo<Kind>& info = find_part<Kind>(kind, choice.name);
  ParameterList declared = info.definition.parameters;
  declared.add(info.definition.settings);
  const std::string owner = fmt::format("{}{} '{}'", policy ? policy->owner() + ": " : "", kind, info.name);
  const Parameters parameters =
      parameters_of(owner, declared, values_of(kind, choice, info.definition.parameters, policy));
  std::shared_ptr<Kind> part = info.definition.make(parameters);
  if (part) part->set_identity(results::with_parameters(info.name, parameters.text()));
  return part;
}

}  // namespace

std::shared_ptr<const Scorer> make_scorer(const PartChoice& choice, const Parameters* policy) {
  return make_part<Scorer>("scorer", choice, policy);
}
std::shared_ptr<const Allocator> make_allocator(const PartChoice& choice, const Parameters* policy) {
  return make_part<Allocator>("allocator", choice, policy);
}
std::shared_ptr<const Selector> make_selector(const PartChoice& choice, const Parameters* policy) {
  return make_part<Selector>("selector", choice, policy);
}
std::shared_ptr<const DecodeRule> make_decoder(const PartChoice& choice, const Parameters* policy) {
  return make_part<DecodeRule>("decoder", choice, policy);
}

std::string qualified_name(std::string_view kind, std::string_view parameter) {
  return fmt::format("{}.{}", kind, parameter);
}

const ParameterList& scorer_parameters(std::string_view name) {
  return find_part<Scorer>("scorer", name).definition.parameters;
}
const ParameterList& allocator_parameters(std::string_view name) {
  return find_part<Allocator>("allocator", name).definition.parameters;
}
const ParameterList& selector_parameters(std::string_view name) {
  return find_part<Selector>("selector", name).definition.parameters;
}

}  // namespace evictlab::sim
