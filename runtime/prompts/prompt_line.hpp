#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.hpp"
#include "runtime/prompts/prompts.hpp"

namespace evictlab::runtime {

/// Reads the keys of one JSON object of a prompts file; messages name file, line and key. A null counts as absent.
class PromptLine {
 public:
  explicit PromptLine(const core::JsonNode& line) : line_(line) {}

  bool has(std::string_view key) const { return line_.find(key).has_value(); }
  bool has_list(std::string_view key) const { return has(key) && line_.at(key).is_array(); }
  /// Empty when absent; ids may be whole numbers.
  std::string text(std::string_view key) const;
  std::vector<std::string> texts(std::string_view key) const;
  std::optional<std::vector<std::int32_t>> token_ids(std::string_view key) const;
  std::vector<Prompt::Span> spans() const;
  std::optional<double> number(std::string_view key) const { return line_.find_number(key); }
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t least, std::int64_t most) const {
    return line_.find_integer(key, least, most);
  }
  /// "exact" when absent.
  std::string metric() const;
  std::vector<Prompt::Followup> followups() const;
  std::vector<ChatMessage> messages() const;
  bool flag(std::string_view key, bool fallback) const { return line_.flag(key, fallback); }

  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    line_.fail(format, std::forward<Args>(args)...);
  }

 private:
  core::JsonNode line_;
};

}  // namespace evictlab::runtime
