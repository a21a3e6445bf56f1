#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "runtime/tokenizer/text_tokenizer.hpp"

namespace evictlab::runtime {

/// A SentencePiece tokenizer.model (Llama 2, Mistral, InternLM2). Gives the ids and the decoded text of the library,
/// so control tokens written out in a text are text. What begins and ends a text is said by the tokenizer_config.json
/// beside it: add_bos_token (true by default), add_eos_token (false), bos_token, eos_token.
class SentencePieceTokenizer final : public TextTokenizer {
 public:
  /// Throws TokenizerError: no SentencePiece model, a configuration that names a token the model does not have.
  explicit SentencePieceTokenizer(const std::filesystem::path& file);
  ~SentencePieceTokenizer() override;

  Encoding encode(std::string_view text, bool add_special_tokens) const override;
  std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const override;

 private:
  struct Model;
  std::unique_ptr<Model> model_;
  std::vector<std::int32_t> before_;  // at the start of a text
  std::vector<std::int32_t> after_;   // at its end
};

}  // namespace evictlab::runtime
