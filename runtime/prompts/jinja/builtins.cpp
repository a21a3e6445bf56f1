#include "runtime/prompts/jinja/builtins.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/message.hpp"
#include "core/text.hpp"
#include "runtime/prompts/jinja/lexer.hpp"
#include "runtime/tokenizer/utf8.hpp"

// Python's and Jinja's built-in names, as far as chat templates use them. What is not here is refused by name, so that
// nothing is rendered otherwise than transformers does.

namespace evictlab::runtime::jinja {
namespace {

constexpr std::int64_t kLongestRange = 100'000;

const std::string& text_of(const Value& value, std::string_view user) {
  if (value.string() == nullptr) throw JinjaError("'{}' takes a text, got {}", user, value.kind());
  return *value.string();
}

std::string text_argument(const CallArguments& arguments, std::size_t place, std::string_view name,
                          std::string_view user) {
  const Value* argument = arguments.find(place, name);
  if (argument == nullptr) throw JinjaError("'{}' lacks an argument", user);
  return text_of(*argument, user);
}

std::int64_t whole_number(const Value& value, std::string_view user) {
  std::int64_t number = 0;
  if (!value.as_integer(number)) throw JinjaError("'{}' takes a whole number, got {}", user, value.kind());
  return number;
}

enum class Ends { kStart, kEnd, kBoth };

/// str.strip, lstrip, rstrip.
std::string stripped(std::string_view text, Ends ends, const Value* characters) {
  if (characters == nullptr || characters->is_none()) {
    if (ends != Ends::kEnd) text = strip_start(text);
    if (ends != Ends::kStart) text = strip_end(text);
    return std::string(text);
  }
  const std::string& all = text_of(*characters, "strip");
  const auto listed = [&all](std::string_view one) {
    for (std::size_t at = 0; at < all.size(); at += code_point_at(all, at).size) {
      if (all.compare(at, code_point_at(all, at).size, one) == 0) return true;
    }
    return false;
  };
  while (ends != Ends::kEnd && !text.empty() && listed(text.substr(0, code_point_at(text, 0).size))) {
    text.remove_prefix(code_point_at(text, 0).size);
  }
  while (ends != Ends::kStart && !text.empty()) {
    const std::size_t size = code_point_before(text, text.size()).size;
    if (!listed(text.substr(text.size() - size))) break;
    text.remove_suffix(size);
  }
  return std::string(text);
}

/// str.split and rsplit.
List split(const std::string& text, const CallArguments& arguments, bool from_end) {
  const Value* separator = arguments.find(0, "sep");
  const Value* limit = arguments.find(1, "maxsplit");
  std::int64_t most = limit == nullptr ? -1 : whole_number(*limit, "split");
  List parts;
  if (separator == nullptr || separator->is_none()) {
    if (most >= 0) throw JinjaError("'split' at white space takes no limit here");
    std::string_view rest = strip_start(text);
    while (!rest.empty()) {
      std::size_t size = 0;
      while (size < rest.size() && !is_python_space(code_point_at(rest, size).value)) {
        size += code_point_at(rest, size).size;
      }
      parts.emplace_back(std::string(rest.substr(0, size)));
      rest = strip_start(rest.substr(size));
    }
    return parts;
  }
  const std::string& at = text_of(*separator, "split");
  if (at.empty()) throw JinjaError("'split' at an empty text");
  std::string_view rest = text;
  for (; most != 0; --most) {
    const std::size_t place = from_end ? rest.rfind(at) : rest.find(at);
    if (place == std::string_view::npos) break;
    const std::string_view before = rest.substr(0, place);
    const std::string_view after = rest.substr(place + at.size());
    parts.emplace_back(std::string(from_end ? after : before));
    rest = from_end ? before : after;
  }
  parts.emplace_back(std::string(rest));
  if (from_end) std::ranges::reverse(parts);
  return parts;
}

/// str.startswith and endswith: of one text, or any of several.
bool has_end(const std::string& text, const CallArguments& arguments, bool start) {
  const Value* wanted = arguments.find(0, "");
  if (wanted == nullptr) throw JinjaError("'startswith' lacks an argument");
  const auto has = [&](const Value& one) {
    const std::string& end = text_of(one, "startswith");
    return start ? text.starts_with(end) : text.ends_with(end);
  };
  return wanted->list() != nullptr ? std::ranges::any_of(*wanted->list(), has) : has(*wanted);
}

std::string replaced(std::string_view text, const std::string& old, const std::string& with) {
  if (old.empty()) throw JinjaError("'replace' of an empty text");
  std::string result;
  for (std::size_t at = text.find(old); at != std::string_view::npos; at = text.find(old)) {
    result.append(text.substr(0, at)).append(with);
    text.remove_prefix(at + old.size());
  }
  return result.append(text);
}

/// upper, lower, capitalize, title: of ASCII, whose letters need no tables.
std::string recased(const std::string& text, std::string_view how) {
  std::string result = text;
  bool word_begins = true;
  for (char& c : result) {
    if (static_cast<unsigned char>(c) >= 0x80) throw JinjaError("'{}' of letters outside ASCII", how);
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool upper = how == "upper" || (how != "lower" && word_begins);
    if (letter) c = static_cast<char>(upper ? c & ~0x20 : c | 0x20);
    word_begins = how == "title" ? !letter : false;
  }
  return result;
}

std::size_t length_of(const Value& value) {
  if (const std::string* text = value.string()) return code_point_offsets(*text).size() - 1;
  return elements_of(value).size();
}

List items_of(const Value& value) {
  if (value.dict() == nullptr) throw JinjaError("'items' takes a mapping, got {}", value.kind());
  List items;
  for (const auto& [name, member] : *value.dict()) items.emplace_back(List{name, member});
  return items;
}

std::string joined(const Value& value, const CallArguments& arguments) {
  const Value* between = arguments.find(0, "d");
  if (arguments.find(1, "attribute") != nullptr) throw JinjaError("'join' takes no attribute here");
  std::string all;
  bool first = true;
  for (const Value& item : elements_of(value)) {
    if (!first && between != nullptr) all += text_of(*between, "join");
    all += item.text();
    first = false;
  }
  return all;
}

/// selectattr and rejectattr: members of the list whose attribute passes a test.
List selected(const Value& value, const CallArguments& arguments, bool wanted) {
  const std::string attribute = text_argument(arguments, 0, "", "selectattr");
  CallArguments rest;
  std::string test;
  if (arguments.positional.size() > 1) {
    test = text_argument(arguments, 1, "", "selectattr");
    rest.positional.assign(arguments.positional.begin() + 2, arguments.positional.end());
  }
  List found;
  for (const Value& item : elements_of(value)) {
    const Value member = item.member(attribute);
    if ((test.empty() ? member.truth() : apply_test(test, member, rest)) == wanted) found.push_back(item);
  }
  return found;
}

/// map(attribute=...) and map(filter, ...).
List mapped(const Value& value, const CallArguments& arguments) {
  List results;
  const Value* attribute = find_member(arguments.named, "attribute");
  CallArguments rest;
  if (arguments.positional.size() > 1) {
    rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
  }
  for (const Value& item : elements_of(value)) {
    results.push_back(attribute != nullptr ? item.member(text_of(*attribute, "map"))
                                           : apply_filter(text_argument(arguments, 0, "", "map"), item, rest));
  }
  return results;
}

Value converted_to_integer(const Value& value) {
  double number = 0;
  if (value.as_number(number) && std::abs(number) < 9e15) return static_cast<std::int64_t>(number);
  const auto whole = value.string() == nullptr ? std::nullopt : core::parse_integer(core::trim(*value.string()));
  return whole.value_or(0);
}

bool is_in(const Value& a, const Value& b) {
  if (const std::string* text = b.string()) return text->find(text_of(a, "in")) != std::string::npos;
  if (b.list() == nullptr && b.dict() == nullptr) throw JinjaError("looks for something in {}", b.kind());
  return std::ranges::any_of(elements_of(b), [&a](const Value& item) { return item == a; });
}

Value make_range(const CallArguments& arguments) {
  std::vector<std::int64_t> numbers;
  for (const Value& argument : arguments.positional) numbers.push_back(whole_number(argument, "range"));
  if (numbers.empty() || numbers.size() > 3 || !arguments.named.empty()) {
    throw JinjaError("'range' takes one to three numbers");
  }
  const std::int64_t begin = numbers.size() == 1 ? 0 : numbers[0];
  const std::int64_t end = numbers.size() == 1 ? numbers[0] : numbers[1];
  const std::int64_t step = numbers.size() == 3 ? numbers[2] : 1;
  if (step == 0) throw JinjaError("'range' with a step of 0");
  List all;
  for (std::int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
    all.emplace_back(i);
    if (std::ssize(all) > kLongestRange) throw JinjaError("a range of more than {} numbers", kLongestRange);
  }
  return all;
}

Value remainder(std::int64_t a, std::int64_t b, bool quotient) {
  if (b == 0) throw JinjaError("divides by 0");
  if (b == -1) return quotient ? Value(-a) : Value(std::int64_t{0});
  const std::int64_t rest = (a % b + b) % b;  // has the sign of b, as Python's
  return quotient ? (a - rest) / b : rest;
}

}  // namespace

List elements_of(const Value& value) {
  if (const List* items = value.list()) return *items;
  List all;
  if (const Dict* members = value.dict()) {
    for (const auto& member : *members) all.emplace_back(member.first);
    return all;
  }
  if (const std::string* text = value.string()) {
    const std::vector<std::size_t> offsets = code_point_offsets(*text);
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
      all.emplace_back(text->substr(offsets[i], offsets[i + 1] - offsets[i]));
    }
    return all;
  }
  if (value.is_undefined()) return all;
  throw JinjaError("goes through the elements of {}", value.kind());
}

bool compare(const std::string& word, const Value& a, const Value& b) {
  if (word == "==") return a == b;
  if (word == "!=") return !(a == b);
  if (word == "in") return is_in(a, b);
  if (word == "not in") return !is_in(a, b);
  double x = 0;
  double y = 0;
  int order = 0;
  if (a.as_number(x) && b.as_number(y)) {
    order = x < y ? -1 : x > y ? 1 : 0;
  } else if (a.string() != nullptr && b.string() != nullptr) {
    order = a.string()->compare(*b.string());  // bytes of UTF-8 are ordered as code points are
  } else {
    throw JinjaError("compares {} with {}", a.kind(), b.kind());
  }
  return word == "<" ? order < 0 : word == "<=" ? order <= 0 : word == ">" ? order > 0 : order >= 0;
}

Value combine(const std::string& word, const Value& a, const Value& b) {
  if (word == "~") return a.text() + b.text();
  if (word == "+" && a.string() != nullptr && b.string() != nullptr) return *a.string() + *b.string();
  if (word == "+" && a.list() != nullptr && b.list() != nullptr) {
    List both = *a.list();
    both.insert(both.end(), b.list()->begin(), b.list()->end());
    return both;
  }
  std::int64_t i = 0;
  std::int64_t j = 0;
  constexpr std::int64_t kLargest = std::int64_t{1} << 31;
  if (word != "/" && a.as_integer(i) && b.as_integer(j)) {
    if (std::abs(i) > kLargest || std::abs(j) > kLargest) throw JinjaError("computes with numbers beyond 2^31");
    if (word == "+") return i + j;
    if (word == "-") return i - j;
    if (word == "*") return i * j;
    return remainder(i, j, word == "//");
  }
  double x = 0;
  double y = 0;
  if (!a.as_number(x) || !b.as_number(y)) throw JinjaError("computes {} {} {}", a.kind(), word, b.kind());
  if (word == "+") return x + y;
  if (word == "-") return x - y;
  if (word == "*") return x * y;
  if (y == 0) throw JinjaError("divides by 0");
  if (word == "/") return x / y;
  return word == "//" ? std::floor(x / y) : x - y * std::floor(x / y);
}

Value apply_filter(const std::string& name, const Value& value, const CallArguments& arguments) {
  if (name == "default" || name == "d") {
    const Value* fallback = arguments.find(0, "default_value");
    const Value* also_false = arguments.find(1, "boolean");
    const bool missing = value.is_undefined() || (also_false != nullptr && also_false->truth() && !value.truth());
    if (!missing) return value;
    return fallback == nullptr ? Value("") : *fallback;
  }
  if (value.is_undefined() && name != "list" && name != "length" && name != "count" && name != "trim" &&
      name != "string" && name != "join") {
    throw JinjaError("the filter '{}' takes {}", name, value.kind());
  }
  if (name == "trim") return stripped(value.text(), Ends::kBoth, arguments.find(0, "chars"));
  if (name == "length" || name == "count") return static_cast<std::int64_t>(length_of(value));
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize") return recased(value.text(), name);
  if (name == "string") return value.text();
  if (name == "safe") return value;
  if (name == "int") return converted_to_integer(value);
  if (name == "list") return elements_of(value);
  if (name == "items") return items_of(value);
  if (name == "join") return joined(value, arguments);
  if (name == "selectattr" || name == "rejectattr") return selected(value, arguments, name == "selectattr");
  if (name == "map") return mapped(value, arguments);
  if (name == "replace") {
    return replaced(value.text(), text_argument(arguments, 0, "old", name), text_argument(arguments, 1, "new", name));
  }
  if (name == "tojson") {
    if (!arguments.positional.empty() || !arguments.named.empty()) throw JinjaError("'tojson' takes no arguments here");
    return json_text(value);
  }
  if (name == "first" || name == "last" || name == "reverse") {
    List items = elements_of(value);
    if (name == "reverse") {
      std::ranges::reverse(items);
      return items;
    }
    if (items.empty()) return Value::undefined(name);
    return name == "first" ? items.front() : items.back();
  }
  throw JinjaError("the filter {} is not supported", core::quote(name));
}

bool apply_test(const std::string& name, const Value& value, const CallArguments& arguments) {
  if (name == "defined") return !value.is_undefined();
  if (name == "undefined") return value.is_undefined();
  if (name == "none") return value.is_none();
  if (name == "string") return value.string() != nullptr;
  if (name == "boolean") return value.boolean() != nullptr;
  if (name == "true" || name == "false") return value.boolean() != nullptr && *value.boolean() == (name == "true");
  if (name == "integer") return value.integer() != nullptr;
  if (name == "float") return value.real() != nullptr;
  if (name == "number") return value.integer() != nullptr || value.real() != nullptr || value.boolean() != nullptr;
  if (name == "mapping") return value.dict() != nullptr;
  if (name == "iterable" || name == "sequence") {
    return value.list() != nullptr || value.dict() != nullptr || value.string() != nullptr || value.is_undefined();
  }
  if (name == "odd" || name == "even") return (whole_number(value, name) & 1) == (name == "odd" ? 1 : 0);
  const Value* other = arguments.find(0, "other");
  if (other != nullptr) {
    if (name == "equalto" || name == "eq") return value == *other;
    if (name == "ne") return !(value == *other);
    if (name == "in") return is_in(value, *other);
    if (name == "divisibleby") return whole_number(combine("%", value, *other), name) == 0;
  }
  throw JinjaError("the test {} is not supported", core::quote(name));
}

Value call_method(const std::string& name, const Value& value, const CallArguments& arguments) {
  if (const std::string* text = value.string()) {
    if (name == "strip") return stripped(*text, Ends::kBoth, arguments.find(0, ""));
    if (name == "lstrip") return stripped(*text, Ends::kStart, arguments.find(0, ""));
    if (name == "rstrip") return stripped(*text, Ends::kEnd, arguments.find(0, ""));
    if (name == "split" || name == "rsplit") return split(*text, arguments, name == "rsplit");
    if (name == "startswith" || name == "endswith") return has_end(*text, arguments, name == "startswith");
    if (name == "upper" || name == "lower" || name == "title" || name == "capitalize") return recased(*text, name);
    if (name == "replace") {
      return replaced(*text, text_argument(arguments, 0, "", name), text_argument(arguments, 1, "", name));
    }
    if (name == "find") {
      const std::size_t at = text->find(text_argument(arguments, 0, "", name));
      if (at == std::string::npos) return std::int64_t{-1};
      return static_cast<std::int64_t>(code_point_offsets(std::string_view(*text).substr(0, at)).size()) - 1;
    }
    if (name == "join" && !arguments.positional.empty()) return joined(arguments.positional.front(), {{value}, {}});
  }
  if (const Dict* members = value.dict()) {
    if (name == "items") return items_of(value);
    if (name == "keys") return elements_of(value);
    if (name == "values") {
      List all;
      for (const auto& member : *members) all.push_back(member.second);
      return all;
    }
    if (name == "get") {
      const Value* found = find_member(*members, text_argument(arguments, 0, "", name));
      const Value* fallback = arguments.find(1, "");
      return found != nullptr ? *found : fallback != nullptr ? *fallback : Value(Value::None{});
    }
  }
  throw JinjaError("the method '{}' of {} is not supported", name, value.kind());
}

const Dict& global_functions() {
  static const Dict functions = {
      {"range", Function(make_range)},
      {"dict", Function([](const CallArguments& arguments) { return Value(arguments.named); })},
      {"namespace", Function([](const CallArguments& arguments) {
         if (!arguments.positional.empty()) throw JinjaError("'namespace' takes names with values");
         return Value(std::make_shared<Value::Namespace>(Value::Namespace{arguments.named}));
       })},
      {"raise_exception", Function([](const CallArguments& arguments) -> Value {
         throw JinjaError("refuses the conversation: {}", text_argument(arguments, 0, "message", "raise_exception"));
       })}};
  return functions;
}

}  // namespace evictlab::runtime::jinja
