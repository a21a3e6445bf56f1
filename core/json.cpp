#include "core/json.hpp"

#include <cctype>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/file.hpp"
#include "core/interrupt.hpp"
#include "core/message.hpp"
#include "core/text.hpp"

namespace evictlab::core {

using nlohmann::json;

struct JsonNode::Source {
  std::string name;
  void (*thrower)(const std::string& message);
  json root = {};

  [[noreturn]] void refuse(const std::string& message) const {
    thrower(fmt::format("{}: {}", name, message));
    throw InputError(message);  // not reached: the thrower throws
  }
};

namespace {

constexpr std::size_t kLargestText = std::size_t{512} << 20U;
constexpr std::size_t kDeepest = 64;

std::string kind_of(const json& value) {
  const bool vowel = value.is_array() || value.is_object();
  return fmt::format("{} {}", vowel ? "an" : "a", value.type_name());
}

/// Builds a value from the parser's events and stops at the first that is not allowed. A repeated name is found by the
/// insertion that every member needs anyway.
class GuardedBuilder {
 public:
  explicit GuardedBuilder(json& root) : root_(root) {}

  // The parser's interface: its names are nlohmann::json's.
  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(json::number_integer_t value) { return add(value); }
  bool number_unsigned(json::number_unsigned_t value) { return add(value); }
  bool number_float(json::number_float_t value, const json::string_t&) { return add(value); }
  bool string(json::string_t& value) { return add(std::move(value)); }
  bool binary(json::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(json::value_t::object); }
  bool start_array(std::size_t) { return open(json::value_t::array); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(json::string_t& name) {
    auto& members = open_.back()->get_ref<json::object_t&>();
    const auto [member, is_new] = members.try_emplace(std::move(name));
    member_ = &member->second;
    if (is_new) return true;
    problem_ = fmt::format("the name {} occurs twice in an object", quote(member->first));
    return false;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception& error) {
    constexpr int kNumberOutOfRange = 406;
    problem_ = error.id == kNumberOutOfRange ? "not valid JSON: a number is out of range"
                                             : fmt::format("not valid JSON at byte {}", position);
    return false;
  }

  const std::string& problem() const { return problem_; }

 private:
  template <typename Value>
  json& place(Value&& value) {
    if (open_.empty()) return root_ = std::forward<Value>(value);
    json& parent = *open_.back();
    if (parent.is_object()) return *member_ = std::forward<Value>(value);
    return parent.get_ref<json::array_t&>().emplace_back(std::forward<Value>(value));
  }
  template <typename Value>
  bool add(Value&& value) {
    place(std::forward<Value>(value));
    // Not in small documents, which work that was interrupted may need to end well.
    constexpr std::size_t kUninterrupted = 1U << 16U;
    if (++values_ % kUninterrupted == 0) throw_if_interrupted();
    return true;
  }
  bool open(json::value_t type) {
    if (open_.size() == kDeepest) {
      problem_ = fmt::format("nested more than {} deep", kDeepest);
      return false;
    }
    open_.push_back(&place(type));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  json& root_;
  std::vector<json*> open_;  // arrays and objects that are not complete yet; only the last one grows
  json* member_ = nullptr;   // the value that the last name belongs to
  std::size_t values_ = 0;
  std::string problem_;
};

/// ".key" or "['a key']".
std::string step_to(const std::string& key) {
  bool plain = !key.empty();
  for (const char c : key) plain = plain && (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-');
  return plain ? "." + key : fmt::format("[{}]", quote(key));
}

/// The path from `from` to the value at the address `target`; nothing if it is not below.
std::optional<std::string> path_between(const json& from, const json* target) {
  if (&from == target) return "";
  if (!from.is_structured()) return std::nullopt;
  std::size_t index = 0;
  for (const auto& [key, value] : from.items()) {
    if (const auto rest = path_between(value, target)) {
      return (from.is_array() ? fmt::format("[{}]", index) : step_to(key)) + *rest;
    }
    ++index;
  }
  return std::nullopt;
}

}  // namespace

void JsonNode::refuse(const std::string& message) const {
  std::string path = path_between(source_->root, value_).value_or("");
  if (path.starts_with('.')) path.erase(0, 1);
  source_->refuse(path.empty() ? message : fmt::format("{}: {}", path, message));
}

void JsonNode::fail_kind(std::string_view expected) const { fail("expected {}, got {}", expected, kind_of(*value_)); }

bool JsonNode::is_object() const { return value_->is_object(); }
bool JsonNode::is_array() const { return value_->is_array(); }
bool JsonNode::is_string() const { return value_->is_string(); }
bool JsonNode::is_integer() const { return value_->is_number_integer(); }

const std::string& JsonNode::string() const {
  if (!value_->is_string()) fail_kind("a string");
  return value_->get_ref<const std::string&>();
}

bool JsonNode::boolean() const {
  if (!value_->is_boolean()) fail_kind("true or false");
  return value_->get<bool>();
}

std::int64_t JsonNode::integer(std::int64_t least, std::int64_t most) const {
  if (!value_->is_number()) fail_kind("a whole number");
  const bool too_large =
      value_->is_number_unsigned() && value_->get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max();
  if (!value_->is_number_integer() || too_large || value_->get<std::int64_t>() < least ||
      value_->get<std::int64_t>() > most) {
    fail("expected a whole number from {} to {}, got {}", least, most, text());
  }
  return value_->get<std::int64_t>();
}

double JsonNode::number() const {
  if (!value_->is_number()) fail_kind("a number");
  return value_->get<double>();
}

double JsonNode::positive() const {
  const double value = number();
  if (!(value > 0)) fail("expected a number above 0, got {}", text());
  return value;
}

std::vector<std::string> JsonNode::strings() const {
  std::vector<std::string> values;
  for (const JsonNode& item : items()) values.push_back(item.string());
  return values;
}

std::vector<std::int64_t> JsonNode::integers(std::int64_t least, std::int64_t most) const {
  std::vector<std::int64_t> values;
  for (const JsonNode& item : items()) values.push_back(item.integer(least, most));
  return values;
}

std::size_t JsonNode::size() const {
  if (!value_->is_structured()) fail_kind("an array or an object");
  return value_->size();
}

std::vector<JsonNode> JsonNode::items() const {
  if (!value_->is_array()) fail_kind("an array");
  std::vector<JsonNode> items;
  items.reserve(value_->size());
  for (const json& item : *value_) items.push_back(JsonNode(item, *source_));
  return items;
}

std::vector<JsonMember> JsonNode::members() const {
  if (!value_->is_object()) fail_kind("an object");
  std::vector<JsonMember> members;
  members.reserve(value_->size());
  for (const auto& [key, value] : value_->get_ref<const json::object_t&>()) {
    members.push_back({key, JsonNode(value, *source_)});
  }
  return members;
}

bool JsonNode::contains(std::string_view key) const {
  if (!value_->is_object()) fail_kind("an object");
  return value_->contains(key);
}

JsonNode JsonNode::at(std::string_view key) const {
  if (!contains(key)) fail("has no '{}'", key);
  return {*value_->find(key), *source_};
}

std::optional<JsonNode> JsonNode::find(std::string_view key) const {
  if (!contains(key)) return std::nullopt;
  const json& value = *value_->find(key);
  return value.is_null() ? std::nullopt : std::optional(JsonNode(value, *source_));
}

std::optional<std::string> JsonNode::find_string(std::string_view key) const {
  const auto node = find(key);
  return node ? std::optional(node->string()) : std::nullopt;
}

std::optional<std::int64_t> JsonNode::find_integer(std::string_view key, std::int64_t least, std::int64_t most) const {
  const auto node = find(key);
  return node ? std::optional(node->integer(least, most)) : std::nullopt;
}

std::optional<double> JsonNode::find_number(std::string_view key) const {
  const auto node = find(key);
  return node ? std::optional(node->number()) : std::nullopt;
}

std::optional<double> JsonNode::find_positive(std::string_view key) const {
  const auto node = find(key);
  return node ? std::optional(node->positive()) : std::nullopt;
}

bool JsonNode::flag(std::string_view key, bool fallback) const {
  const auto node = find(key);
  return node ? node->boolean() : fallback;
}

std::string JsonNode::text() const { return value_->dump(-1, ' ', false, json::error_handler_t::replace); }

JsonDocument::JsonDocument(std::string_view text, std::string name, Thrower thrower)
    : source_(std::make_unique<JsonNode::Source>(JsonNode::Source{std::move(name), thrower})) {
  if (text.size() > kLargestText) {
    source_->refuse(fmt::format("{} of JSON, more than {}", format_bytes(static_cast<double>(text.size())),
                                format_bytes(static_cast<double>(kLargestText))));
  }
  GuardedBuilder builder(source_->root);
  if (!json::sax_parse(text, &builder)) source_->refuse(builder.problem());
}

JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

JsonDocument JsonDocument::read_file(const std::filesystem::path& path, Thrower thrower) {
  return JsonDocument(read_text(path), path.string(), thrower);
}

JsonNode JsonDocument::root() const { return {source_->root, *source_}; }

}  // namespace evictlab::core
