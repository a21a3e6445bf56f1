#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/prompts.hpp"

namespace evictlab::runtime {

/// One JSON object of a prompts file; names file and line in every message. Refers to the object.
class PromptLine {
 public:
  PromptLine(const nlohmann::json& line, std::string where) : line_(line), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  /// null counts as absent.
  bool has(const char* key) const { return line_.contains(key) && !line_.at(key).is_null(); }
  /// Empty when absent; ids may be whole numbers.
  std::string text(const char* key) const;
  std::vector<std::string> texts(const char* key) const;
  std::optional<std::vector<std::int32_t>> token_ids(const char* key) const;
  std::vector<Prompt::Span> spans() const;
  std::optional<double> number(const char* key) const;
  /// "exact" when absent.
  std::string metric() const;
  std::vector<Prompt::Followup> followups() const;

 private:
  const nlohmann::json& line_;
  std::string where_;
};

}  // namespace evictlab::runtime
