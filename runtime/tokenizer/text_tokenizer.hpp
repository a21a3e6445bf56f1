#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/error.hpp"
#include "runtime/tokenizer/pieces.hpp"

namespace evictlab::runtime {

/// A text as tokens.
struct Encoding {
  std::vector<std::int32_t> ids;
  /// [ids] The bytes of the text each token came from, always whole characters: the tokens of a character
  /// that is split all have its range. White space that belongs to a token is in its range. Tokens added by
  /// the template have empty ranges, at the start or the end of the text.
  std::vector<ByteRange> ranges;
};

/// Tokens [begin, end) of an encoding.
struct TokenRange {
  std::size_t begin = 0;
  std::size_t end = 0;
  friend bool operator==(TokenRange, TokenRange) = default;
};

/// The tokens that came from any of the bytes `range`. Without any, empty, where they would be.
TokenRange tokens_of(const Encoding& encoding, ByteRange range);

/// What turns text into tokens and back, whatever file it was read from. Several threads may use one.
class TextTokenizer {
 public:
  TextTokenizer() = default;
  TextTokenizer(const TextTokenizer&) = delete;
  TextTokenizer& operator=(const TextTokenizer&) = delete;
  virtual ~TextTokenizer() = default;

  /// The tokens of `text`; with those that begin and end a text (a BOS, say) if `add_special_tokens`. Throws
  /// TokenizerError for text that is not UTF-8, naming the byte, or too long.
  virtual Encoding encode(std::string_view text, bool add_special_tokens) const = 0;
  /// The text of tokens; without special ones if `skip_special_tokens`.
  virtual std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const = 0;

 protected:
  TextTokenizer(TextTokenizer&&) = default;
  TextTokenizer& operator=(TextTokenizer&&) = default;
};

/// The tokenizer of a model directory: its tokenizer.json, or without one its tokenizer.model (SentencePiece); or that
/// of a GGUF file. Throws TokenizerError or core::InputError.
std::unique_ptr<TextTokenizer> load_tokenizer(const std::filesystem::path& model);

}  // namespace evictlab::runtime
