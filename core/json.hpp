#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.hpp"

// The one reader of JSON that users give us: checkpoints, tokenizers, prompts, budgets, settings.

namespace evictlab::core {

struct JsonMember;

/// Gives typed access to one value of a JsonDocument and says in one line what is wrong with it:
/// "tokenizer.json: model.merges[3]: expected a string, got a number". A node is two pointers into its document, which
/// must outlive it; the path is looked up only when something is wrong.
class JsonNode {
 public:
  bool is_object() const;
  bool is_array() const;
  bool is_string() const;
  bool is_integer() const;

  const std::string& string() const;
  bool boolean() const;
  std::int64_t integer(std::int64_t least, std::int64_t most) const;
  double number() const;
  double positive() const;
  std::vector<std::string> strings() const;
  std::vector<std::int64_t> integers(std::int64_t least, std::int64_t most) const;

  /// How many elements this array, or members this object, has.
  std::size_t size() const;
  std::vector<JsonNode> items() const;
  /// In the order of their names.
  std::vector<JsonMember> members() const;
  /// Whether this object has the member, even if it is null.
  bool contains(std::string_view key) const;
  /// The member `key`; fails if it is missing.
  JsonNode at(std::string_view key) const;
  /// The member `key`, or nothing if it is missing or null.
  std::optional<JsonNode> find(std::string_view key) const;

  // The member `key` by its type; a member that is missing or null is nothing, or the fallback.
  std::optional<std::string> find_string(std::string_view key) const;
  std::optional<std::int64_t> find_integer(std::string_view key, std::int64_t least, std::int64_t most) const;
  std::optional<double> find_number(std::string_view key) const;
  std::optional<double> find_positive(std::string_view key) const;
  bool flag(std::string_view key, bool fallback = false) const;

  /// The value as JSON, on one line.
  std::string text() const;
  const nlohmann::json& value() const { return *value_; }

  /// Throws the document's type of error: "<document>: <path>: <message>".
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    refuse(fmt::format(format, std::forward<Args>(args)...));
  }
  /// "expected `expected`, got a number".
  [[noreturn]] void fail_kind(std::string_view expected) const;

 private:
  friend class JsonDocument;
  struct Source;
  JsonNode(const nlohmann::json& value, const Source& source) : value_(&value), source_(&source) {}
  [[noreturn]] void refuse(const std::string& message) const;

  const nlohmann::json* value_;
  const Source* source_;
};

struct JsonMember {
  const std::string& key;
  JsonNode value;
};

/// Holds a parsed JSON text. Reading refuses, with an InputError of the caller's type: what is not valid JSON, more
/// than 64 levels of nesting (values are visited by recursion), more than 512 MiB of text, and a name that occurs twice
/// in an object (of which parsers silently keep one).
class JsonDocument {
 public:
  /// `name` begins every message.
  template <typename Error = InputError>
  static JsonDocument parse(std::string_view text, std::string name) {
    return JsonDocument(text, std::move(name), &throw_as<Error>);
  }
  template <typename Error = InputError>
  static JsonDocument read(const std::filesystem::path& path) {
    return read_file(path, &throw_as<Error>);
  }
  /// An empty object, for an optional file that does not exist.
  template <typename Error = InputError>
  static JsonDocument empty(std::string name) {
    return JsonDocument("{}", std::move(name), &throw_as<Error>);
  }
  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  JsonNode root() const;

 private:
  using Thrower = void (*)(const std::string& message);
  friend class JsonNode;

  template <typename Error>
  [[noreturn]] static void throw_as(const std::string& message) {
    throw Error(message);
  }
  JsonDocument(std::string_view text, std::string name, Thrower thrower);
  static JsonDocument read_file(const std::filesystem::path& path, Thrower thrower);

  std::unique_ptr<JsonNode::Source> source_;
};

}  // namespace evictlab::core
