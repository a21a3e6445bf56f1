#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/gguf.hpp"
#include "runtime/tokenizer/text_tokenizer.hpp"
#include "runtime/tokenizer/utf8.hpp"  // code_point_offsets, for spans counted in characters

namespace evictlab::runtime {

struct TokenizerParts;

/// A tokenizer with a byte-pair-encoding model, as Hugging Face's tokenizers library saves it. Gives the
/// same ids and the same decoded text as the library. Several threads may use one.
///
/// Not supported, and refused by name: models other than BPE, subword prefixes and suffixes, dropout,
/// and components that the make_... functions of this folder do not list. Truncation and padding are ignored.
class Tokenizer final : public TextTokenizer {
 public:
  /// Reads a tokenizer.json. Throws TokenizerError (one line: file, place in it, what is wrong), and
  /// core::InputError when the file cannot be read.
  static Tokenizer load(const std::filesystem::path& file);
  /// The same from its content; `name` stands for the file in messages.
  static Tokenizer parse(std::string_view json, const std::string& name);
  /// The tokenizer that a GGUF file's metadata describe (tokenizer.ggml.*), of the kinds
  ///   gpt2   byte-level byte pair encoding with merges, words cut as tokenizer.ggml.pre says;
  ///   llama  SentencePiece's byte pair encoding by scores, on the whole text.
  /// Control and unknown tokens are special tokens, user-defined ones are found in a text as well. As in llama.cpp,
  /// text after one of these begins with a space of its own where add_space_prefix says that texts do. Throws
  /// core::InputError in one line: another kind or pre-tokenizer, by its name; lists that do not fit each other; tokens
  /// that are not UTF-8; a merge or a special id without its token.
  static Tokenizer from_gguf(const core::GgufFile& file);
  explicit Tokenizer(TokenizerParts parts);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer() override;

  /// The tokens of `text`; with those of the template (a BOS, say) if `add_special_tokens`. Special tokens
  /// written out in the text become themselves either way. Throws TokenizerError for text that is not
  /// UTF-8 (naming the byte) or has 2^32 bytes or more.
  Encoding encode(std::string_view text, bool add_special_tokens) const override;

  /// The text of tokens; without special ones if `skip_special_tokens` (as in the library, special tokens
  /// that the normalizer changes stay). Ids that no token has give nothing,
  /// bytes that are not UTF-8 give U+FFFD.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const override;

  std::optional<std::int32_t> token_to_id(std::string_view token) const;
  /// The token as the vocabulary writes it, which for byte-level models is not its text.
  std::optional<std::string> id_to_token(std::int32_t id) const;

  /// The largest id + 1, added tokens included. A model may have rows beyond it.
  std::int32_t vocab_size() const;
  /// Ids of the special tokens, in the order of the file.
  const std::vector<std::int32_t>& special_token_ids() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace evictlab::runtime
