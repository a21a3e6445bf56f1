#include "runtime/prompts/jinja/builtins.hpp"

#include <string.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/message.hpp"
#include "core/text.hpp"
#include "runtime/prompts/jinja/lexer.hpp"
#include "runtime/prompts/prompt_template.hpp"
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

/// As std::string_view::find, but linear whatever the texts are.
std::size_t find_text(std::string_view text, std::string_view wanted) {
  const void* found = memmem(text.data(), text.size(), wanted.data(), wanted.size());
  return found == nullptr ? std::string_view::npos
                          : static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

std::size_t characters_of(std::string_view text) { return static_cast<std::size_t>(code_points(text)); }

enum class Ends { kStart, kEnd, kBoth };

/// str.strip, lstrip, rstrip.
std::string stripped(std::string_view text, Ends ends, const Value* characters) {
  if (characters == nullptr || characters->is_none()) {
    if (ends != Ends::kEnd) text = strip_start(text);
    if (ends != Ends::kStart) text = strip_end(text);
    return std::string(text);
  }
  const std::string& all = text_of(*characters, "strip");
  std::set<char32_t> listed;
  for (std::size_t at = 0; at < all.size(); at += code_point_at(all, at).size) {
    listed.insert(code_point_at(all, at).value);
  }
  while (ends != Ends::kEnd && !text.empty() && listed.contains(code_point_at(text, 0).value)) {
    text.remove_prefix(code_point_at(text, 0).size);
  }
  while (ends != Ends::kStart && !text.empty()) {
    const CodePoint last = code_point_before(text, text.size());
    if (!listed.contains(last.value)) break;
    text.remove_suffix(last.size);
  }
  return std::string(text);
}

void add_part(List& parts, std::string_view part) {
  if (parts.size() >= kMostElements) throw JinjaError("splits a text into more than {} parts", kMostElements);
  parts.emplace_back(std::string(part));
}

List split_at_space(const std::string& text) {
  List parts;
  for (std::string_view rest = strip_start(text); !rest.empty();) {
    std::size_t size = 0;
    while (size < rest.size() && !is_python_space(code_point_at(rest, size).value)) {
      size += code_point_at(rest, size).size;
    }
    add_part(parts, rest.substr(0, size));
    rest = strip_start(rest.substr(size));
  }
  return parts;
}

/// str.split and rsplit, which is split of what is turned round.
List split(const std::string& text, const CallArguments& arguments, bool from_end) {
  const Value* separator = arguments.find(0, "sep");
  const Value* limit = arguments.find(1, "maxsplit");
  std::int64_t most = limit == nullptr ? -1 : whole_number(*limit, "split");
  if (separator == nullptr || separator->is_none()) {
    if (most >= 0) throw JinjaError("'split' at white space takes no limit here");
    return split_at_space(text);
  }
  const auto turned = [from_end](std::string_view part) {
    return from_end ? std::string(part.rbegin(), part.rend()) : std::string(part);
  };
  const std::string at = turned(text_of(*separator, "split"));
  if (at.empty()) throw JinjaError("'split' at an empty text");
  const std::string whole = turned(text);
  List parts;
  std::string_view rest = whole;
  for (; most != 0; most -= most > 0 ? 1 : 0) {
    const std::size_t place = find_text(rest, at);
    if (place == std::string_view::npos) break;
    add_part(parts, turned(rest.substr(0, place)));
    rest.remove_prefix(place + at.size());
  }
  add_part(parts, turned(rest));
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

/// Keeps a text that grows within what a value may be.
void append_bounded(std::string& text, std::string_view more) {
  if (text.size() + more.size() > kLargestValue) {
    throw JinjaError("makes a value of more than {} MiB", kLargestValue >> 20U);
  }
  text += more;
}

std::string replaced(std::string_view text, const std::string& old, const std::string& with) {
  if (old.empty()) throw JinjaError("'replace' of an empty text");
  std::string result;
  for (std::size_t at = find_text(text, old); at != std::string_view::npos; at = find_text(text, old)) {
    append_bounded(result, text.substr(0, at));
    append_bounded(result, with);
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

std::size_t length_of(const Value& value, Work& work) {
  if (const std::string* text = value.string()) return characters_of(*text);
  return elements_of(value, work)->size();
}

List items_of(const Value& value) {
  if (value.dict() == nullptr) throw JinjaError("'items' takes a mapping, got {}", value.kind());
  List items;
  for (const auto& [name, member] : *value.dict()) items.emplace_back(List{name, member});
  return items;
}

std::string joined(const Value& value, const CallArguments& arguments, Work& work) {
  const Value* between = arguments.find(0, "d");
  if (arguments.find(1, "attribute") != nullptr) throw JinjaError("'join' takes no attribute here");
  std::string all;
  bool first = true;
  work.spend(value.reading_all());
  const Elements items = elements_of(value, work);
  for (const Value& item : *items) {
    if (!first && between != nullptr) append_bounded(all, text_of(*between, "join"));
    append_bounded(all, item.text());
    first = false;
  }
  return all;
}

/// selectattr and rejectattr: members of the list whose attribute passes a test.
List selected(const Value& value, const CallArguments& arguments, bool wanted, Work& work) {
  const std::string attribute = text_argument(arguments, 0, "", "selectattr");
  CallArguments rest;
  std::string test;
  if (arguments.positional.size() > 1) {
    test = text_argument(arguments, 1, "", "selectattr");
    rest.positional.assign(arguments.positional.begin() + 2, arguments.positional.end());
  }
  List found;
  const Elements items = elements_of(value, work);
  for (const Value& item : *items) {
    work.spend(1);
    const Value member = item.member(attribute);
    if ((test.empty() ? member.truth() : apply_test(test, member, rest, work)) == wanted) found.push_back(item);
  }
  return found;
}

/// map(attribute=...) and map(filter, ...).
List mapped(const Value& value, const CallArguments& arguments, Work& work) {
  List results;
  const Value* attribute = find_member(arguments.named, "attribute");
  CallArguments rest;
  if (arguments.positional.size() > 1) {
    rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
  }
  const Elements items = elements_of(value, work);
  for (const Value& item : *items) {
    work.spend(1);
    results.push_back(attribute != nullptr ? item.member(text_of(*attribute, "map"))
                                           : apply_filter(text_argument(arguments, 0, "", "map"), item, rest, work));
    work.spend(results.back().reading());
  }
  return results;
}

Value converted_to_integer(const Value& value) {
  double number = 0;
  if (value.as_number(number) && std::abs(number) < 9e15) return static_cast<std::int64_t>(number);
  const auto whole = value.string() == nullptr ? std::nullopt : core::parse_integer(core::trim(*value.string()));
  return whole.value_or(0);
}

bool is_in(const Value& a, const Value& b, Work& work) {
  if (const std::string* text = b.string()) return find_text(*text, text_of(a, "in")) != std::string::npos;
  if (b.list() == nullptr && b.dict() == nullptr) throw JinjaError("looks for something in {}", b.kind());
  work.spend(b.reading_all());
  return std::ranges::any_of(*elements_of(b, work), [&a](const Value& item) { return item == a; });
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
  for (std::int64_t i = begin; step > 0 ? i < end : i > end;) {
    all.emplace_back(i);
    if (std::ssize(all) > kLongestRange) throw JinjaError("a range of more than {} numbers", kLongestRange);
    if (__builtin_add_overflow(i, step, &i)) break;
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

Elements elements_of(const Value& value, Work& work) {
  if (Elements items = value.shared_list()) return items;
  List all;
  if (const Dict* members = value.dict()) {
    for (const auto& member : *members) all.emplace_back(member.first);
  } else if (const std::string* text = value.string()) {
    const std::size_t count = characters_of(*text);
    if (count > kMostElements) throw JinjaError("goes through more than {} characters", kMostElements);
    work.spend(count / 4);
    for (std::string_view rest = *text; !rest.empty(); rest.remove_prefix(code_point_at(rest, 0).size)) {
      all.emplace_back(std::string(rest.substr(0, code_point_at(rest, 0).size)));
    }
  } else if (!value.is_undefined()) {
    throw JinjaError("goes through the elements of {}", value.kind());
  }
  return std::make_shared<const List>(std::move(all));
}

bool compare(const std::string& word, const Value& a, const Value& b, Work& work) {
  if (word == "==" || word == "!=") {
    work.spend(std::min(a.reading_all(), b.reading_all()));
    return (a == b) == (word == "==");
  }
  if (word == "in") return is_in(a, b, work);
  if (word == "not in") return !is_in(a, b, work);
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
    if (std::max(i, j) > kLargest || std::min(i, j) < -kLargest) throw JinjaError("computes with numbers beyond 2^31");
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

Value apply_filter(const std::string& name, const Value& value, const CallArguments& arguments, Work& work) {
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
  if (name == "length" || name == "count") return static_cast<std::int64_t>(length_of(value, work));
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize") return recased(value.text(), name);
  if (name == "string") return value.text();
  if (name == "safe") return value;
  if (name == "int") return converted_to_integer(value);
  if (name == "list") return *elements_of(value, work);
  if (name == "items") return items_of(value);
  if (name == "join") return joined(value, arguments, work);
  if (name == "selectattr" || name == "rejectattr") return selected(value, arguments, name == "selectattr", work);
  if (name == "map") return mapped(value, arguments, work);
  if (name == "replace") {
    return replaced(value.text(), text_argument(arguments, 0, "old", name), text_argument(arguments, 1, "new", name));
  }
  if (name == "tojson") {
    if (!arguments.positional.empty() || !arguments.named.empty()) throw JinjaError("'tojson' takes no arguments here");
    work.spend(value.reading_all());
    return json_text(value);
  }
  if (name == "first" || name == "last" || name == "reverse") {
    const Elements items = elements_of(value, work);
    if (name == "reverse") return List(items->rbegin(), items->rend());
    if (items->empty()) return Value::undefined(name);
    return name == "first" ? items->front() : items->back();
  }
  throw JinjaError("the filter {} is not supported", core::quote(name));
}

bool apply_test(const std::string& name, const Value& value, const CallArguments& arguments, Work& work) {
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
    if (name == "equalto" || name == "eq") return compare("==", value, *other, work);
    if (name == "ne") return compare("!=", value, *other, work);
    if (name == "in") return is_in(value, *other, work);
    if (name == "divisibleby") return whole_number(combine("%", value, *other), name) == 0;
  }
  throw JinjaError("the test {} is not supported", core::quote(name));
}

Value call_method(const std::string& name, const Value& value, const CallArguments& arguments, Work& work) {
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
      const std::size_t at = find_text(*text, text_argument(arguments, 0, "", name));
      if (at == std::string::npos) return std::int64_t{-1};
      return static_cast<std::int64_t>(characters_of(std::string_view(*text).substr(0, at)));
    }
    if (name == "join" && !arguments.positional.empty())
      return joined(arguments.positional.front(), {{value}, {}}, work);
  }
  if (const Dict* members = value.dict()) {
    if (name == "items") return items_of(value);
    if (name == "keys") return *elements_of(value, work);
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
         return Value::make_namespace(arguments.named);
       })},
      {"raise_exception", Function([](const CallArguments& arguments) -> Value {
         throw JinjaError("refuses the conversation: {}", text_argument(arguments, 0, "message", "raise_exception"));
       })}};
  return functions;
}

}  // namespace evictlab::runtime::jinja
