#include "runtime/tokenizer/text_tokenizer.hpp"

#include <algorithm>

#include "core/gguf.hpp"
#include "runtime/tokenizer/error.hpp"
#include "runtime/tokenizer/sentencepiece_tokenizer.hpp"
#include "runtime/tokenizer/tokenizer.hpp"

namespace evictlab::runtime {

std::unique_ptr<TextTokenizer> load_tokenizer(const std::filesystem::path& model) {
  if (core::is_gguf_path(model)) return std::make_unique<Tokenizer>(Tokenizer::from_gguf(core::GgufFile(model)));
  const std::filesystem::path json = model / "tokenizer.json";
  const std::filesystem::path sentencepiece = model / "tokenizer.model";
  if (std::filesystem::exists(json)) return std::make_unique<Tokenizer>(Tokenizer::load(json));
  if (std::filesystem::exists(sentencepiece)) return std::make_unique<SentencePieceTokenizer>(sentencepiece);
  throw TokenizerError("{}: no tokenizer.json and no tokenizer.model", model.string());
}

TokenRange tokens_of(const Encoding& encoding, ByteRange range) {
  TokenRange tokens{encoding.ids.size(), 0};
  std::size_t before = 0;  // tokens up to here came from what precedes the range
  for (std::size_t i = 0; i < encoding.ranges.size(); ++i) {
    const ByteRange token = encoding.ranges[i];
    if (token.end <= range.begin) before = i + 1;
    if (token.begin >= token.end || token.begin >= range.end || token.end <= range.begin) continue;
    tokens.begin = std::min(tokens.begin, i);
    tokens.end = i + 1;
  }
  return tokens.begin < tokens.end ? tokens : TokenRange{before, before};
}

}  // namespace evictlab::runtime
