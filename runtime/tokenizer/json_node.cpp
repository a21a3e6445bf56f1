#include "runtime/tokenizer/json_node.hpp"

#include <algorithm>

namespace evictlab::runtime {

using nlohmann::json;

namespace {

// How deep brackets outside of strings nest; for what is no JSON any number will do.
int nesting(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string && (c == '[' || c == '{')) {
      deepest = std::max(deepest, ++depth);
    } else if (!in_string && (c == ']' || c == '}')) {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

json parse_json(std::string_view text, const std::string& file) {
  // Components nest by recursion below, so a hostile depth is stopped here.
  constexpr int kMaxDepth = 32;
  if (nesting(text) > kMaxDepth) throw TokenizerError("{}: not JSON, or nested more than {} deep", file, kMaxDepth);
  try {
    return json::parse(text);
  } catch (const json::parse_error& error) {
    throw TokenizerError("{}: not valid JSON at byte {} of {}", file, error.byte, text.size());
  } catch (const json::exception&) {
    throw TokenizerError("{}: not valid JSON (a number is out of range)", file);
  }
}

void JsonNode::fail_kind(std::string_view expected) const {
  fail("expected {}, got {} {}", expected, value_->is_array() || value_->is_object() ? "an" : "a", value_->type_name());
}

const json& JsonNode::object() const {
  if (!value_->is_object()) fail_kind("an object");
  return *value_;
}

const json& JsonNode::array() const {
  if (!value_->is_array()) fail_kind("an array");
  return *value_;
}

JsonNode JsonNode::at(const std::string& key) const {
  const auto member = object().find(key);
  if (member == value_->end()) fail("has no '{}'", key);
  return {*member, file_, path_.empty() ? key : path_ + '.' + key};
}

std::optional<JsonNode> JsonNode::find(const std::string& key) const {
  const auto member = object().find(key);
  if (member == value_->end() || member->is_null()) return std::nullopt;
  return at(key);
}

std::vector<JsonNode> JsonNode::items() const {
  std::vector<JsonNode> items;
  for (const json& item : array()) items.emplace_back(item, file_, fmt::format("{}[{}]", path_, items.size()));
  return items;
}

const std::string& JsonNode::string() const {
  if (!value_->is_string()) fail_kind("a string");
  return value_->get_ref<const std::string&>();
}

bool JsonNode::boolean() const {
  if (!value_->is_boolean()) fail_kind("true or false");
  return value_->get<bool>();
}

std::int64_t JsonNode::integer(std::int64_t low, std::int64_t high) const {
  const bool too_large = value_->is_number_unsigned() && value_->get<std::uint64_t>() > INT64_MAX;
  if (!value_->is_number_integer()) fail_kind("a whole number");
  if (too_large || value_->get<std::int64_t>() < low || value_->get<std::int64_t>() > high) {
    fail("expected a whole number from {} to {}, got {}", low, high, value_->dump());
  }
  return value_->get<std::int64_t>();
}

bool JsonNode::flag(const std::string& key, bool fallback) const {
  const auto member = find(key);
  return member ? member->boolean() : fallback;
}

void JsonNode::refuse_type(std::string_view known) const {
  fail("type {} is not supported; known: {}", shown(type()), known);
}

}  // namespace evictlab::runtime
