#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
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
  struct Options {
    std::optional<std::int32_t> unknown = {};  // the token of characters that are unknown
    bool byte_fallback = false;                // these become the tokens <0x00> ... <0xFF> of their bytes, if all exist
    bool fuse_unknown = false;                 // neighbours become one unknown token
    bool ignore_merges = false;                // a word that is a token stays one, whatever the merges make of it
  };

  /// Without merges.
  Bpe(Vocabulary vocabulary, const Options& options);
  /// The "model" of a tokenizer.json. Throws TokenizerError for what is malformed and for models other
  /// than BPE, subword prefixes, word suffixes and dropout.
  explicit Bpe(const core::JsonNode& model);

  /// Adds a merge, later than all before it. Returns the token that it needs and the vocabulary does not have, if there
  /// is one; then nothing is added.
  std::optional<std::string> add_merge(std::string_view left, std::string_view right);
  /// Adds the merges of SentencePiece's byte pair encoding (Kudo and Richardson 2018, arXiv:1808.06226): of any two
  /// tokens that are a token when put together, the one with the highest score first. Tokens that are not `mergeable`
  /// neither take part nor come out. Both have one element for each id.
  void add_scored_merges(std::span<const float> scores, const std::vector<bool>& mergeable);

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

  const Merge* find_merge(std::int32_t left, std::int32_t right) const;
  std::vector<Symbol> characters(std::string_view word) const;
  void merge(std::vector<Symbol>& symbols) const;

  Vocabulary vocabulary_;
  std::unordered_map<std::uint64_t, Merge> merges_;  // by left id << 32 | right id
  std::optional<std::int32_t> unknown_;
  std::vector<std::optional<std::int32_t>> byte_tokens_;  // [256] <0x00> ... <0xFF>; empty without byte_fallback
  bool fuse_unknown_;
  bool ignore_merges_;
  std::uint32_t next_rank_ = 0;
};

}  // namespace evictlab::runtime
