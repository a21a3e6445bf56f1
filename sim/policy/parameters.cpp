#include "sim/policy/parameters.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <stdexcept>

#include "core/text.hpp"

namespace evictlab::sim {
namespace {

constexpr std::int64_t kNoMaximum = std::numeric_limits<std::int64_t>::max();

std::optional<ParameterValue> parse(std::string_view text, const IntegerRange& range) {
  const auto value = core::parse_integer(text);
  if (!value || *value < range.minimum || *value > range.maximum || (range.odd && *value % 2 == 0)) return {};
  return *value;
}

std::optional<ParameterValue> parse(std::string_view text, const NumberRange& range) {
  const auto value = core::parse_number(text);
  if (!value || *value < range.minimum || *value > range.maximum) return {};
  return *value;
}

std::optional<ParameterValue> parse(std::string_view text, const Choices& choices) {
  const auto found = std::find(choices.names.begin(), choices.names.end(), text);
  if (found == choices.names.end()) return {};
  return *found;
}

std::optional<ParameterValue> parse(std::string_view text, const FreeText& /*any*/) { return std::string(text); }

std::string joined(const std::vector<std::string>& names) { return fmt::format("{}", fmt::join(names, ", ")); }

}  // namespace

std::string allowed_text(const Parameter& parameter) {
  if (const auto* range = std::get_if<IntegerRange>(&parameter.allowed)) {
    const std::string_view kind = range->odd ? "an odd whole number" : "a whole number";
    if (range->maximum == kNoMaximum) return fmt::format("{} >= {}", kind, range->minimum);
    return fmt::format("{} in {}..{}", kind, range->minimum, range->maximum);
  }
  if (const auto* range = std::get_if<NumberRange>(&parameter.allowed)) {
    return fmt::format("a number in {}..{}", range->minimum, range->maximum);
  }
  if (const auto* text = std::get_if<FreeText>(&parameter.allowed)) return text->what;
  const auto& names = std::get<Choices>(parameter.allowed).names;
  return names.size() == 1 ? names.front() : "one of " + joined(names);
}

std::string value_text(const ParameterValue& value) {
  return std::visit([](const auto& held) { return fmt::format("{}", held); }, value);
}

bool ParameterList::declares(std::string_view name) const {
  return std::any_of(parameters_.begin(), parameters_.end(),
                     [&](const Parameter& parameter) { return parameter.name == name; });
}

const Parameter& ParameterList::at(std::string_view name) const {
  for (const Parameter& parameter : parameters_) {
    if (parameter.name == name) return parameter;
  }
  throw std::logic_error("parameter '" + std::string(name) + "' is not declared");
}

Parameter& ParameterList::find(std::string_view name) { return const_cast<Parameter&>(at(name)); }

ParameterList& ParameterList::add(Parameter parameter) {
  if (declares(parameter.name)) throw std::logic_error("parameter '" + parameter.name + "' is declared twice");
  parameters_.push_back(std::move(parameter));
  return *this;
}

ParameterList& ParameterList::insert_before(std::string_view name, Parameter parameter) {
  if (declares(parameter.name)) throw std::logic_error("parameter '" + parameter.name + "' is declared twice");
  parameters_.insert(parameters_.begin() + (&find(name) - parameters_.data()), std::move(parameter));
  return *this;
}

ParameterList& ParameterList::add(const ParameterList& others) {
  for (const Parameter& other : others.all()) {
    if (!declares(other.name)) parameters_.push_back(other);
  }
  return *this;
}

ParameterList& ParameterList::remove(std::string_view name) {
  parameters_.erase(parameters_.begin() + (&find(name) - parameters_.data()));
  return *this;
}

ParameterList& ParameterList::zero_means(std::string_view name, const std::string& meaning) {
  Parameter& parameter = find(name);
  if (auto* integers = std::get_if<IntegerRange>(&parameter.allowed)) {
    integers->minimum = 0;
    parameter.default_value = std::int64_t{0};
  } else {
    std::get<NumberRange>(parameter.allowed).minimum = 0.0;
    parameter.default_value = 0.0;
  }
  parameter.help += "; 0: " + meaning;
  return *this;
}

ParameterList& ParameterList::integer(std::string name, std::int64_t default_value, IntegerRange range,
                                      std::string help) {
  return add({std::move(name), default_value, range, std::move(help)});
}

ParameterList& ParameterList::number(std::string name, double default_value, NumberRange range, std::string help) {
  return add({std::move(name), default_value, range, std::move(help)});
}

ParameterList& ParameterList::choice(std::string name, std::vector<std::string> choices, std::string help) {
  std::string first = choices.front();
  return add({std::move(name), std::move(first), Choices{std::move(choices)}, std::move(help)});
}

ParameterList& ParameterList::text(std::string name, FreeText allowed, std::string help) {
  return add({std::move(name), std::string(), std::move(allowed), std::move(help)});
}

ParameterList& ParameterList::set_defaults(const KeyValues& defaults) {
  for (const auto& [name, text] : defaults) {
    Parameter& parameter = find(name);
    auto value = std::visit([&text = text](const auto& allowed) { return parse(text, allowed); }, parameter.allowed);
    if (!value) throw std::logic_error("parameter '" + name + "' cannot default to '" + text + "'");
    parameter.default_value = std::move(*value);
  }
  return *this;
}

Parameters::Parameters(std::string owner, const ParameterList& declared, const KeyValues& given,
                       const KeyValues& defaults)
    : owner_(std::move(owner)), declared_(declared.all()) {
  for (const Parameter& parameter : declared_) values_.push_back(parameter.default_value);
  set(defaults);
  defaults_ = values_;
  set(given);
}

void Parameters::set(const KeyValues& given) {
  std::vector<bool> seen(declared_.size(), false);
  for (const auto& [key, text] : given) {
    const auto found = std::find_if(declared_.begin(), declared_.end(), [&key = key](const Parameter& parameter) {
      return parameter.name == key || parameter.alias == key;
    });
    if (found == declared_.end()) continue;
    const auto index = static_cast<std::size_t>(found - declared_.begin());
    if (!found->alias.empty() && seen[index]) {
      throw PolicyError("{}: {} is given twice, also as {}", owner_, found->name, found->alias);
    }
    seen[index] = true;
    set(index, key, text);
  }
  for (const auto& [key, text] : given) {
    bool known = false;
    for (std::size_t index = 0; index < declared_.size(); ++index) {
      const Parameter& parameter = declared_[index];
      known = known || parameter.name == key || parameter.alias == key || parameter.family == key;
      if (parameter.family == key && !seen[index]) set(index, key, text);
    }
    if (known) continue;
    if (declared_.empty()) throw PolicyError("{} takes no parameters, got '{}'", owner_, key);
    std::vector<std::string> names;
    for (const Parameter& parameter : declared_) names.push_back(parameter.name);
    throw PolicyError("{} has no parameter '{}'{}", owner_, key, core::suggestion(key, names));
  }
}

void Parameters::set(std::size_t index, const std::string& key, const std::string& text) {
  const Parameter& parameter = declared_[index];
  auto value = std::visit([&text](const auto& allowed) { return parse(text, allowed); }, parameter.allowed);
  if (!value) throw PolicyError("{}: {} must be {}, got '{}'", owner_, key, allowed_text(parameter), text);
  values_[index] = std::move(*value);
}

bool Parameters::declares(std::string_view name) const {
  return std::any_of(declared_.begin(), declared_.end(),
                     [&](const Parameter& parameter) { return parameter.name == name; });
}

const ParameterValue& Parameters::value(std::string_view name) const {
  for (std::size_t i = 0; i < declared_.size(); ++i) {
    if (declared_[i].name == name) return values_[i];
  }
  throw std::logic_error(owner_ + " reads the parameter '" + std::string(name) + "' it does not declare");
}

std::int64_t Parameters::integer(std::string_view name) const { return std::get<std::int64_t>(value(name)); }
double Parameters::number(std::string_view name) const { return std::get<double>(value(name)); }
const std::string& Parameters::choice(std::string_view name) const { return std::get<std::string>(value(name)); }

std::string Parameters::join(bool changed_only) const {
  std::vector<std::string> items;
  for (std::size_t i = 0; i < declared_.size(); ++i) {
    // What variant it is decides the other defaults, so it is told unless it is the first.
    const bool is_variant = declared_[i].name == kVariantParameter;
    if (changed_only && values_[i] == (is_variant ? declared_[i].default_value : defaults_[i])) continue;
    items.push_back(declared_[i].name + "=" + value_text(values_[i]));
  }
  return fmt::format("{}", fmt::join(items, ","));
}

std::string Parameters::text() const { return join(false); }
std::string Parameters::changes() const { return join(true); }

}  // namespace evictlab::sim
