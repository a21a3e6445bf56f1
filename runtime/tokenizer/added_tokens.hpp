#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/json.hpp"
#include "runtime/tokenizer/pieces.hpp"
#include "runtime/tokenizer/pipeline.hpp"
#include "runtime/tokenizer/regex.hpp"
#include "runtime/tokenizer/vocabulary.hpp"

namespace evictlab::runtime {

/// A token that is found in the text as it stands, before the model sees the rest.
struct AddedToken {
  std::int32_t id;
  std::string content;
  std::string text;  ///< what is looked for and what decoding gives: the content, normalized if `normalized`
  bool single_word;  ///< only where no word character touches it
  bool lstrip;       ///< takes the white space before it along
  bool rstrip;       ///< takes the white space after it along
  bool normalized;   ///< looked for in the normalized text, normalized itself
  bool special;      ///< decoding may leave it out
};

/// Finds the longest of a set of texts at the leftmost place (a trie over bytes).
class LongestMatch {
 public:
  LongestMatch() : nodes_(1) {}
  /// Of equal texts the first one added counts. `text` must not be empty.
  void add(std::string_view text, std::size_t value);

  struct Match {
    std::size_t begin;
    std::size_t end;
    std::size_t value;
  };
  /// The first match that starts at or after `from`.
  std::optional<Match> find(std::string_view text, std::size_t from) const;

 private:
  struct Node {
    std::unordered_map<unsigned char, std::size_t> children;
    std::optional<std::size_t> value;
  };
  std::vector<Node> nodes_;
};

/// Reads the "added_tokens" of a tokenizer.json, if it has them. Throws TokenizerError for what is malformed or
/// contradicts the vocabulary, and for ids other than those the tokenizers library would give.
std::vector<AddedToken> read_added_tokens(const std::optional<core::JsonNode>& list, const Vocabulary& vocabulary,
                                          const Normalizer& normalizer);

class AddedTokens {
 public:
  /// Texts are not empty.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  const std::vector<AddedToken>& tokens() const { return tokens_; }

  /// Cuts the pieces at the tokens that are looked for before, or after, normalization.
  void extract(PiecedText& text, bool normalized) const;

 private:
  void find(std::string_view text, const LongestMatch& matcher, RegexSearch& word, std::vector<Piece>& pieces) const;

  std::vector<AddedToken> tokens_;
  LongestMatch raw_;  // values are indices of tokens_
  LongestMatch normalized_;
  Regex word_;
};

}  // namespace evictlab::runtime
