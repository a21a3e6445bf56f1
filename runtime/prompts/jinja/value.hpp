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

/// How much a rendering may do before it is refused. Templates come with models, from strangers: loops and texts that
/// double are short to write. A unit is about a microsecond.
class Work {
 public:
  /// Throws JinjaError when that is more than is left, and core::Interrupted when a signal has come.
  void spend(std::size_t units);

 private:
  static constexpr std::size_t kMost = 5'000'000;
  std::size_t spent_ = 0;
};

/// No text and no list of a template's own making is larger, so that none takes all memory.
inline constexpr std::size_t kLargestValue = std::size_t{32} << 20;

/// A value of a template, with Python's meaning of truth, equality and text. Texts, lists, dicts and functions are
/// shared by copies; only the attributes of a namespace() ever change. Making one throws JinjaError where it would take
/// more than kLargestValue bytes (what lists share counts as often as it is there), nest more than 100 deep, or hold a
/// namespace in a namespace.
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
  Value(std::string value);
  Value(const char* value) : Value(std::string(value)) {}
  Value(List value);
  Value(Dict value);
  Value(Function value) : data_(std::make_shared<const Function>(std::move(value))) {}
  /// A namespace() with these members.
  static Value make_namespace(Dict members);
  static Value undefined(std::string name) { return Value(Undefined{std::move(name)}); }

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const std::int64_t* integer() const { return std::get_if<std::int64_t>(&data_); }
  const double* real() const { return std::get_if<double>(&data_); }
  const std::string* string() const { return shared<const std::string>(); }
  const List* list() const { return shared<const List>(); }
  std::shared_ptr<const List> shared_list() const;
  const Dict* dict() const { return shared<const Dict>(); }
  const Function* function() const { return shared<const Function>(); }
  const Namespace* name_space() const { return shared<Namespace>(); }
  /// Sets an attribute of a namespace.
  void set_member(const std::string& name, const Value& value) const;

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

  /// Work that going through it once is: its members, not theirs.
  std::size_t reading() const;
  /// Work that going through all that it holds is.
  std::size_t reading_all() const { return extent_.bytes / 256; }

 private:
  struct Extent {
    std::size_t bytes = 0;  // besides the Value itself
    int depth = 0;
    bool has_namespace = false;
  };

  explicit Value(Undefined undefined) : data_(std::move(undefined)) {}
  void include(const Value& member);
  void check_extent() const;
  template <typename T>
  T* shared() const {
    const auto* pointer = std::get_if<std::shared_ptr<T>>(&data_);
    return pointer == nullptr ? nullptr : pointer->get();
  }

  std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<const Function>,
               std::shared_ptr<Namespace>>
      data_;
  Extent extent_;
};

/// As many values as kLargestValue has room for.
inline constexpr std::size_t kMostElements = kLargestValue / sizeof(Value);

/// Null where there is none.
const Value* find_member(const Dict& dict, std::string_view name);
/// The members [begin, end) of a list or characters of a text, by Python's rules for negative and missing ends.
Value slice(const Value& value, const Value& begin, const Value& end, const Value& step);
/// As json.dumps(value, ensure_ascii=False).
std::string json_text(const Value& value);

}  // namespace evictlab::runtime::jinja
