#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "sim/policy/types.hpp"

// Parameters of policies and their parts. Each is declared once, with its default, its range and its meaning; parsing,
// checking, help and the canonical text in result tables follow from the declaration.

namespace evictlab::sim {

/// The parameter that says whose code or paper a policy follows.
inline constexpr std::string_view kVariantParameter = "variant";

struct IntegerRange {
  std::int64_t minimum = 0;
  std::int64_t maximum = 0;
  bool odd = false;
};
struct NumberRange {
  double minimum = 0.0;
  double maximum = 0.0;
};
struct Choices {
  std::vector<std::string> names;
};

/// Any text that a list of policies can hold: no comma, no parenthesis.
struct FreeText {
  std::string what;  // "a file that evictlab fit wrote"
};

using ParameterValue = std::variant<std::int64_t, double, std::string>;

struct Parameter {
  std::string name;
  ParameterValue default_value;
  std::variant<IntegerRange, NumberRange, Choices, FreeText> allowed;
  std::string help;        // one line: what it means, its unit
  std::string alias = {};  // another name it is accepted under, that of its authors' code, say
  /// "block" of "scorer.block": a value for this name holds for all parameters of the family that have none themselves.
  std::string family = {};
};

/// "an odd whole number in 1..255", "a number in 0..1", "one of max, avg".
std::string allowed_text(const Parameter& parameter);
/// As it is written after "name=".
std::string value_text(const ParameterValue& value);

using KeyValues = std::vector<std::pair<std::string, std::string>>;

/// Declares parameters, in the order they are shown.
class ParameterList {
 public:
  ParameterList& integer(std::string name, std::int64_t default_value, IntegerRange range, std::string help);
  ParameterList& number(std::string name, double default_value, NumberRange range, std::string help);
  /// The first choice is the default.
  ParameterList& choice(std::string name, std::vector<std::string> choices, std::string help);

  /// Empty by default.
  ParameterList& text(std::string name, FreeText allowed, std::string help);

  /// std::logic_error for a name that is declared already.
  ParameterList& add(Parameter parameter);
  ParameterList& insert_before(std::string_view name, Parameter parameter);
  /// Declares what another list has and this one has not.
  ParameterList& add(const ParameterList& others);
  /// Takes a parameter away.
  ParameterList& remove(std::string_view name);
  /// Lets a number be 0, which is then its default and means something else: "0: the model's".
  ParameterList& zero_means(std::string_view name, const std::string& meaning);
  /// Other defaults for parameters declared already; std::logic_error when they are not allowed.
  ParameterList& set_defaults(const KeyValues& defaults);

  const std::vector<Parameter>& all() const { return parameters_; }
  bool declares(std::string_view name) const;
  /// std::logic_error for a name that is not declared.
  const Parameter& at(std::string_view name) const;

 private:
  Parameter& find(std::string_view name);
  std::vector<Parameter> parameters_;
};

/// Holds a value for each declared parameter: the one given, or the default.
class Parameters {
 public:
  /// `owner` names the policy or part in messages: "policy 'snapkv'". `defaults` replace the declared ones (a
  /// variant's). Throws PolicyError for a key that is not declared (with the nearest one that is) and for a value that
  /// is not allowed.
  Parameters(std::string owner, const ParameterList& declared, const KeyValues& given, const KeyValues& defaults = {});

  const std::string& owner() const { return owner_; }
  bool declares(std::string_view name) const;
  /// The value of a declared parameter; std::logic_error for any other name.
  const ParameterValue& value(std::string_view name) const;
  /// The same where it is of that type.
  std::int64_t integer(std::string_view name) const;
  double number(std::string_view name) const;
  const std::string& choice(std::string_view name) const;
  const std::string& text(std::string_view name) const { return choice(name); }

  /// Canonical: every parameter in declared order, "window=32,kernel=7,pooling=max".
  std::string text() const;
  /// Only those that differ from their default, in the same form; empty when none does.
  std::string changes() const;

 private:
  /// Replaces values by those given.
  void set(const KeyValues& given);
  void set(std::size_t index, const std::string& key, const std::string& text);
  std::string join(bool changed_only) const;

  std::string owner_;
  std::vector<Parameter> declared_;
  std::vector<ParameterValue> defaults_;
  std::vector<ParameterValue> values_;
};

}  // namespace evictlab::sim
