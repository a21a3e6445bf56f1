#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/json.hpp"
#include "runtime/tokenizer/vocabulary.hpp"

namespace evictlab::runtime {

/// A token of a word: its bytes [begin, end).
struct WordToken {
  std::int32_t id;
  std::uint32_t begin;
  std::uint32_t end;
};

/// Byte pair encoding (Sennrich et al. 2016, arXiv:1508.07909): a word starts as its characters; of all
/// neighbours that have a merge, the pair with the earliest merge is joined, the leftmost of equals first,
/// until none is left.
class Bpe {
 public:
  /// The "model" of a tokenizer.json. Throws TokenizerError for what is malformed and for models other
  /// than BPE, subword prefixes, word suffixes and dropout.
  explicit Bpe(const core::JsonNode& model);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  /// The tokens of `word`, well-formed UTF-8. Characters that are unknown become the unknown token, bytes
  /// (byte_fallback), or nothing when the model has neither.
  std::vector<WordToken> tokenize(std::string_view word) const;

 private:
  struct Merge {
    std::uint32_t rank;
    std::int32_t id;  // of what the pair becomes
  };
  struct Symbol;

  void read_merges(const core::JsonNode& merges);
  const Merge* find_merge(std::int32_t left, std::int32_t right) const;
  std::vector<Symbol> characters(std::string_view word) const;
  void merge(std::vector<Symbol>& symbols) const;

  Vocabulary vocabulary_;
  std::unordered_map<std::uint64_t, Merge> merges_;  // by left id << 32 | right id
  std::optional<std::int32_t> unknown_;
  std::vector<std::optional<std::int32_t>> byte_tokens_;  // [256] <0x00> ... <0xFF>; empty without byte_fallback
  bool fuse_unknown_;
  bool ignore_merges_;
};

}  // namespace evictlab::runtime
