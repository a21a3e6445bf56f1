#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/json.hpp"

namespace evictlab::runtime {

/// No id is as large: a limit against damaged files, eight times the largest vocabulary in use.
constexpr std::int32_t kMaxTokenId = (1 << 21) - 1;

/// The tokens of a model: a one-to-one map of texts to ids, which may have gaps.
class Vocabulary {
 public:
  /// {"token": id, ...}. Throws TokenizerError.
  explicit Vocabulary(const core::JsonNode& vocab);
  /// The tokens of ids 0, 1, ... Of a text that occurs again the last id counts; the others have the text all the same.
  explicit Vocabulary(std::span<const std::string_view> tokens);
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;
  // ids_ refers to the texts in tokens_, which a move takes along and a copy would not.
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;
  ~Vocabulary() = default;

  std::optional<std::int32_t> id(std::string_view token) const;
  /// Null when no token has this id.
  const std::string* token(std::int32_t id) const;
  std::size_t size() const { return ids_.size(); }                                     ///< number of tokens
  std::int32_t id_limit() const { return static_cast<std::int32_t>(tokens_.size()); }  ///< largest id + 1

 private:
  std::vector<std::optional<std::string>> tokens_;  // [id]
  std::unordered_map<std::string_view, std::int32_t> ids_;
};

}  // namespace evictlab::runtime
