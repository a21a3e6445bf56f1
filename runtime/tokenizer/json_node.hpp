#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/tokenizer/error.hpp"

namespace evictlab::runtime {

/// Parses a JSON text nested at most 32 deep. Throws TokenizerError "<file>: not valid JSON ...".
nlohmann::json parse_json(std::string_view text, const std::string& file);

/// A value of a JSON file that knows where it stands, so that what is wrong with it can be said in one
/// line: "tokenizer.json: model.merges[3]: expected a string, got a number". Refers to the document.
class JsonNode {
 public:
  /// `path` is empty for the document itself.
  JsonNode(const nlohmann::json& value, std::string file, std::string path)
      : value_(&value), file_(std::move(file)), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }

  /// The member `key`; an error if this is no object or has no such member.
  JsonNode at(const std::string& key) const;
  /// The member `key`, or nothing if it is absent or null; an error if this is no object.
  std::optional<JsonNode> find(const std::string& key) const;
  /// The elements of this array.
  std::vector<JsonNode> items() const;

  const std::string& string() const;
  bool boolean() const;
  std::int64_t integer(std::int64_t low, std::int64_t high) const;
  const nlohmann::json& object() const;
  const nlohmann::json& array() const;

  /// The boolean member `key`, or `fallback` if it is absent or null.
  bool flag(const std::string& key, bool fallback) const;
  /// The string member "type".
  const std::string& type() const { return at("type").string(); }
  [[noreturn]] void refuse_type(std::string_view known) const;

  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw TokenizerError("{}: {}{}{}", file_, path_, path_.empty() ? "" : ": ",
                         fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  [[noreturn]] void fail_kind(std::string_view expected) const;

  const nlohmann::json* value_;
  std::string file_;
  std::string path_;
};

}  // namespace evictlab::runtime
