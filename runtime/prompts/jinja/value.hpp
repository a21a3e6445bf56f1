#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.hpp"

namespace evictlab::runtime::jinja {

/// A template cannot be read or rendered.
class JinjaError : public core::InputError {
 public:
  using core::InputError::InputError;
};

class Value;
using List = std::vector<Value>;
/// In the order of insertion, as Python's.
using Dict = std::vector<std::pair<std::string, Value>>;

/// What a call was given.
struct CallArguments {
  std::vector<Value> positional;
  Dict named;

  /// The argument at `place` or of that name, or null.
  const Value* find(std::size_t place, std::string_view name) const;
};
using Function = std::function<Value(const CallArguments&)>;

/// A value of a template, with Python's meaning of truth, equality and text. Lists, dicts and functions are shared by
/// copies; only the attributes of a namespace() ever change.
class Value {
 public:
  struct Undefined {
    std::string name;  // of the variable or attribute, for messages
  };
  struct None {};
  struct Namespace {
    Dict members;
  };

  Value() : data_(Undefined{}) {}
  Value(None none) : data_(none) {}
  Value(bool value) : data_(value) {}
  Value(std::int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::move(value)) {}
  Value(const char* value) : data_(std::string(value)) {}
  Value(List value) : data_(std::make_shared<const List>(std::move(value))) {}
  Value(Dict value) : data_(std::make_shared<const Dict>(std::move(value))) {}
  Value(Function value) : data_(std::make_shared<const Function>(std::move(value))) {}
  Value(std::shared_ptr<Namespace> value) : data_(std::move(value)) {}
  static Value undefined(std::string name) { return Value(Undefined{std::move(name)}); }

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const std::int64_t* integer() const { return std::get_if<std::int64_t>(&data_); }
  const double* real() const { return std::get_if<double>(&data_); }
  const std::string* string() const { return std::get_if<std::string>(&data_); }
  const List* list() const { return shared<const List>(); }
  const Dict* dict() const { return shared<const Dict>(); }
  const Function* function() const { return shared<const Function>(); }
  Namespace* name_space() const { return shared<Namespace>(); }

  /// An integer, or a boolean as Python's 0 or 1; or nothing.
  bool as_integer(std::int64_t& value) const;
  bool as_number(double& value) const;

  bool truth() const;
  friend bool operator==(const Value& a, const Value& b);
  /// "an undefined value ('x')", "a list": for messages.
  std::string kind() const;
  /// As str() gives it. Throws JinjaError for lists, dicts and functions, whose text no chat template means.
  std::string text() const;
  /// The member or attribute, or an undefined value. Throws JinjaError when this is undefined.
  Value member(const std::string& name) const;

 private:
  explicit Value(Undefined undefined) : data_(std::move(undefined)) {}
  template <typename T>
  T* shared() const {
    const auto* pointer = std::get_if<std::shared_ptr<T>>(&data_);
    return pointer == nullptr ? nullptr : pointer->get();
  }

  std::variant<Undefined, None, bool, std::int64_t, double, std::string, std::shared_ptr<const List>,
               std::shared_ptr<const Dict>, std::shared_ptr<const Function>, std::shared_ptr<Namespace>>
      data_;
};

/// Null where there is none.
const Value* find_member(const Dict& dict, std::string_view name);
/// The members [begin, end) of a list or characters of a text, by Python's rules for negative and missing ends.
Value slice(const Value& value, const Value& begin, const Value& end, const Value& step);
/// As json.dumps(value, ensure_ascii=False).
std::string json_text(const Value& value);

}  // namespace evictlab::runtime::jinja
