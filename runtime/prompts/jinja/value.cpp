#include "runtime/prompts/jinja/value.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/interrupt.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime::jinja {
namespace {

constexpr int kDeepestValue = 100;

/// As Python's repr: 1.0, not 1.
std::string real_text(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".einf") == std::string::npos) text += ".0";
  return text;
}

/// The places that a slice takes of so many elements (CPython's PySlice_AdjustIndices).
std::vector<std::size_t> slice_places(std::int64_t length, const Value& begin, const Value& end, const Value& step) {
  const auto whole = [](const Value& value, std::int64_t fallback) {
    std::int64_t number = fallback;
    if (!value.is_none() && !value.as_integer(number)) {
      throw JinjaError("slices with {}, expected a whole number", value.kind());
    }
    return number;
  };
  // A longer step than the whole leads outside as well, and cannot overflow.
  const std::int64_t stride = std::clamp(whole(step, 1), -length - 1, length + 1);
  if (stride == 0) throw JinjaError("slices with a step of 0");
  const std::int64_t lowest = stride < 0 ? -1 : 0;
  const std::int64_t highest = stride < 0 ? length - 1 : length;
  const auto adjusted = [&](const Value& value, std::int64_t fallback) {
    std::int64_t place = whole(value, fallback);
    if (!value.is_none() && place < 0) place += length;
    return std::clamp(place, lowest, highest);
  };
  std::vector<std::size_t> places;
  const std::int64_t last = adjusted(end, stride < 0 ? lowest : highest);
  for (std::int64_t i = adjusted(begin, stride < 0 ? highest : lowest); stride < 0 ? i > last : i < last; i += stride) {
    places.push_back(static_cast<std::size_t>(i));
  }
  return places;
}

}  // namespace

const Value* CallArguments::find(std::size_t place, std::string_view name) const {
  return place < positional.size() ? &positional[place] : find_member(named, name);
}

void Work::spend(std::size_t units) {
  core::throw_if_interrupted();
  spent_ += units;
  if (spent_ > kMost) throw JinjaError("takes more than {} steps", kMost);
}

Value::Value(std::string value) {
  extent_.bytes = value.size();
  check_extent();
  data_ = std::make_shared<const std::string>(std::move(value));
}

Value::Value(List value) {
  for (const Value& item : value) include(item);
  check_extent();
  data_ = std::make_shared<const List>(std::move(value));
}

Value::Value(Dict value) {
  for (const auto& [name, member] : value) {
    include(member);
    extent_.bytes += sizeof(std::string) + name.size();
  }
  check_extent();
  data_ = std::make_shared<const Dict>(std::move(value));
}

Value Value::make_namespace(Dict members) {
  auto space = std::make_shared<Namespace>();
  Value value;
  value.data_ = space;
  value.extent_.has_namespace = true;
  for (const auto& [name, member] : members) value.set_member(name, member);
  return value;
}

void Value::include(const Value& member) {
  extent_.bytes += sizeof(Value) + member.extent_.bytes;
  extent_.depth = std::max(extent_.depth, member.extent_.depth + 1);
  extent_.has_namespace |= member.extent_.has_namespace;
}

void Value::check_extent() const {
  if (extent_.bytes > kLargestValue) throw JinjaError("makes a value of more than {} MiB", kLargestValue >> 20U);
  if (extent_.depth > kDeepestValue) throw JinjaError("makes values nested more than {} deep", kDeepestValue);
}

std::shared_ptr<const List> Value::shared_list() const {
  const auto* pointer = std::get_if<std::shared_ptr<const List>>(&data_);
  return pointer == nullptr ? nullptr : *pointer;
}

void Value::set_member(const std::string& name, const Value& value) const {
  // One that holds itself would never be freed.
  if (value.extent_.has_namespace) throw JinjaError("keeps a namespace in a namespace, which is not supported");
  Dict& members = shared<Namespace>()->members;
  const auto known = std::ranges::find(members, name, &Dict::value_type::first);
  if (known == members.end()) {
    members.emplace_back(name, value);
  } else {
    known->second = value;
  }
}

std::size_t Value::reading() const {
  if (const std::string* text = string()) return text->size() / 256;
  if (const List* items = list()) return items->size() / 4;
  const Dict* members = dict();
  return members == nullptr ? 0 : members->size() / 4;
}

bool Value::as_integer(std::int64_t& value) const {
  if (const bool* flag = boolean()) {
    value = *flag ? 1 : 0;
  } else if (const std::int64_t* number = integer()) {
    value = *number;
  } else {
    return false;
  }
  return true;
}

bool Value::as_number(double& value) const {
  std::int64_t whole = 0;
  if (const double* number = real()) {
    value = *number;
  } else if (as_integer(whole)) {
    value = static_cast<double>(whole);
  } else {
    return false;
  }
  return true;
}

bool Value::truth() const {
  double number = 0;
  if (is_undefined() || is_none()) return false;
  if (as_number(number)) return number != 0;
  if (const std::string* text = string()) return !text->empty();
  if (const List* items = list()) return !items->empty();
  if (const Dict* members = dict()) return !members->empty();
  return true;
}

bool operator==(const Value& a, const Value& b) {
  double x = 0;
  double y = 0;
  if (a.as_number(x) && b.as_number(y)) return x == y;
  if (a.string() != nullptr && b.string() != nullptr) return *a.string() == *b.string();
  if (a.list() != nullptr && b.list() != nullptr) return *a.list() == *b.list();
  if (a.dict() != nullptr && b.dict() != nullptr) {
    return a.dict()->size() == b.dict()->size() && std::ranges::all_of(*a.dict(), [&b](const auto& member) {
             const Value* other = find_member(*b.dict(), member.first);
             return other != nullptr && member.second == *other;
           });
  }
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

std::string Value::kind() const {
  if (const auto* undefined = std::get_if<Undefined>(&data_)) {
    return undefined->name.empty() ? "an undefined value" : fmt::format("an undefined value ('{}')", undefined->name);
  }
  if (is_none()) return "none";
  if (boolean() != nullptr) return "a boolean";
  if (integer() != nullptr || real() != nullptr) return "a number";
  if (string() != nullptr) return "a text";
  if (list() != nullptr) return "a list";
  if (dict() != nullptr) return "a mapping";
  return function() != nullptr ? "a function" : "a namespace";
}

std::string Value::text() const {
  if (is_undefined()) return {};
  if (is_none()) return "None";
  if (const bool* flag = boolean()) return *flag ? "True" : "False";
  if (const std::int64_t* number = integer()) return fmt::format("{}", *number);
  if (const double* number = real()) return real_text(*number);
  if (const std::string* words = string()) return *words;
  throw JinjaError("writes {} as text", kind());
}

Value Value::member(const std::string& name) const {
  if (is_undefined()) throw JinjaError("asks {} for '{}'", kind(), name);
  const Dict* members = name_space() != nullptr ? &name_space()->members : dict();
  const Value* found = members == nullptr ? nullptr : find_member(*members, name);
  return found != nullptr ? *found : undefined(name);
}

const Value* find_member(const Dict& dict, std::string_view name) {
  const auto found = std::ranges::find_if(dict, [name](const auto& member) { return member.first == name; });
  return found == dict.end() ? nullptr : &found->second;
}

Value slice(const Value& value, const Value& begin, const Value& end, const Value& step) {
  if (const List* items = value.list()) {
    List part;
    for (const std::size_t place : slice_places(static_cast<std::int64_t>(items->size()), begin, end, step)) {
      part.push_back((*items)[place]);
    }
    return part;
  }
  if (const std::string* text = value.string()) {
    const std::vector<std::size_t> offsets = code_point_offsets(*text);
    std::string part;
    for (const std::size_t place : slice_places(static_cast<std::int64_t>(offsets.size()) - 1, begin, end, step)) {
      part.append(*text, offsets[place], offsets[place + 1] - offsets[place]);
    }
    return part;
  }
  throw JinjaError("slices {}", value.kind());
}

std::string json_text(const Value& value) {
  if (value.is_none()) return "null";
  if (const bool* flag = value.boolean()) return *flag ? "true" : "false";
  if (const std::string* text = value.string()) return nlohmann::json(*text).dump();
  const auto joined = [](const auto& items, const auto& text_of) {
    std::string all;
    for (const auto& item : items) all += (all.empty() ? "" : ", ") + text_of(item);
    return all;
  };
  if (const List* items = value.list()) return "[" + joined(*items, json_text) + "]";
  if (const Dict* members = value.dict()) {
    return "{" +
           joined(*members,
                  [](const auto& member) {
                    return nlohmann::json(member.first).dump() + ": " + json_text(member.second);
                  }) +
           "}";
  }
  if (value.integer() != nullptr || value.real() != nullptr) return value.text();
  throw JinjaError("writes {} as JSON", value.kind());
}

}  // namespace evictlab::runtime::jinja
