// Tokenizer::from_gguf(): a tokenizer from a GGUF file's metadata.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.hpp"
#include "core/message.hpp"
#include "runtime/tokenizer/error.hpp"
#include "runtime/tokenizer/gguf_pre_tokenizers.hpp"
#include "runtime/tokenizer/tokenizer.hpp"
#include "runtime/tokenizer/tokenizer_parts.hpp"

namespace evictlab::runtime {
namespace {

using core::GgufMetadata;
using core::GgufValue;

/// tokenizer.ggml.token_type.
enum TokenType : std::int64_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct Tokens {
  std::vector<std::string_view> texts;  // by id
  std::vector<std::int64_t> types;      // kNormal where the file does not say
};

Tokens read_tokens(const GgufMetadata& metadata) {
  const GgufValue& list = metadata.at("tokenizer.ggml.tokens");
  if (list.size() > static_cast<std::size_t>(kMaxTokenId)) {
    list.fail("{} tokens; at most {} are supported", list.size(), kMaxTokenId);
  }
  Tokens tokens{.texts = list.strings(), .types = std::vector<std::int64_t>(list.size(), kNormal)};
  for (std::size_t id = 0; id < tokens.texts.size(); ++id) {
    if (find_invalid_utf8(tokens.texts[id])) list.fail("token {} is not UTF-8: {}", id, core::quote(tokens.texts[id]));
  }
  if (const GgufValue* types = metadata.find("tokenizer.ggml.token_type")) {
    tokens.types = types->integers(0, INT32_MAX);
    if (tokens.types.size() != tokens.texts.size()) {
      types->fail("{} types for {} tokens", tokens.types.size(), tokens.texts.size());
    }
  }
  return tokens;
}

/// Those that are found in a text as they stand.
AddedTokens read_added(const Tokens& tokens, const Vocabulary& vocabulary) {
  std::vector<AddedToken> added;
  for (std::size_t i = 0; i < tokens.texts.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    const bool special = tokens.types[i] == kControl || tokens.types[i] == kUnknown;
    if (!special && tokens.types[i] != kUserDefined) continue;
    if (tokens.texts[i].empty() || vocabulary.id(tokens.texts[i]) != id) continue;
    const std::string text(tokens.texts[i]);
    added.push_back({.id = id,
                     .content = text,
                     .text = text,
                     .single_word = false,
                     .lstrip = false,
                     .rstrip = false,
                     .normalized = false,
                     .special = special});
  }
  return AddedTokens(std::move(added));
}

/// The token of an id that the metadata name, which the vocabulary must have.
std::optional<std::int32_t> find_id(const GgufMetadata& metadata, std::string_view key, const Tokens& tokens) {
  const auto most = static_cast<std::int64_t>(tokens.texts.size()) - 1;
  const auto id = metadata.find_integer(key, 0, most);
  return id ? std::optional(static_cast<std::int32_t>(*id)) : std::nullopt;
}

struct Ends {
  bool add_bos;
  bool add_eos;
  std::optional<std::int32_t> bos;  // where the file names none
  std::optional<std::int32_t> eos;
};

/// What begins and ends a text; `otherwise` where the file does not say.
Template read_wrapping(const GgufMetadata& metadata, const Tokens& tokens, const Ends& otherwise) {
  const auto ids = [&](std::string_view name, bool add, std::optional<std::int32_t> id) {
    const std::string flag = fmt::format("tokenizer.ggml.add_{}_token", name);
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
    if (!metadata.flag(flag, add)) return std::vector<std::int32_t>{};
    if (const auto named = find_id(metadata, key, tokens)) id = named;
    if (!id || std::cmp_greater_equal(*id, tokens.texts.size())) {
      metadata.fail("texts are to have a {} token, but the metadata has no '{}'", name, key);
    }
    return std::vector<std::int32_t>{*id};
  };
  return {.before = ids("bos", otherwise.add_bos, otherwise.bos),
          .after = ids("eos", otherwise.add_eos, otherwise.eos)};
}

void read_merges(const GgufMetadata& metadata, Bpe& model) {
  const GgufValue& list = metadata.at("tokenizer.ggml.merges");
  std::size_t number = 0;
  for (const std::string_view merge : list.strings()) {
    const std::size_t space = merge.find(' ', 1);  // a token may begin with a space
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      list.fail("merge {} is {}; expected two tokens with a space between them", number, core::quote(merge));
    }
    if (const auto missing = model.add_merge(merge.substr(0, space), merge.substr(space + 1))) {
      list.fail("merge {} needs the token {}, which is not in the vocabulary", number, core::quote(*missing));
    }
    ++number;
  }
}

core::JsonDocument step(std::string_view json) { return core::JsonDocument::parse<TokenizerError>(json, "tokenizer"); }

TokenizerParts byte_level_parts(const GgufMetadata& metadata) {
  const Tokens tokens = read_tokens(metadata);
  GgufPreTokenizer pre = make_gguf_pre_tokenizer(metadata.find("tokenizer.ggml.pre"));
  if (metadata.flag("tokenizer.ggml.add_space_prefix", false)) {
    metadata.at("tokenizer.ggml.add_space_prefix").fail("is not supported for the tokenizer 'gpt2'; expected false");
  }
  Bpe model(Vocabulary(tokens.texts), {.ignore_merges = pre.ignore_merges});
  read_merges(metadata, model);
  AddedTokens added = read_added(tokens, model.vocabulary());
  return {.normalizer = std::move(pre.normalizer),
          .pre_tokenizer = std::move(pre.words),
          .model = std::move(model),
          .added = std::move(added),
          .wrapping = read_wrapping(metadata, tokens, {.add_bos = pre.add_bos, .add_eos = false, .bos = {}, .eos = {}}),
          .decoder = make_decoder(step(R"({"type": "ByteLevel"})").root())};
}

std::vector<float> read_scores(const GgufMetadata& metadata, const Tokens& tokens) {
  const GgufValue& list = metadata.at("tokenizer.ggml.scores");
  std::vector<float> scores = list.numbers();
  if (scores.size() != tokens.texts.size()) list.fail("{} scores for {} tokens", scores.size(), tokens.texts.size());
  return scores;
}

// Spaces are written U+2581.
constexpr std::string_view kEscapeSpaces = R"({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})";
constexpr std::string_view kUnescapeSpaces =
    R"({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"})";

TokenizerParts sentencepiece_parts(const GgufMetadata& metadata) {
  // What SentencePiece gives these ids where a model does not say otherwise.
  constexpr std::int32_t kUnknownId = 0;
  constexpr std::int32_t kBosId = 1;
  constexpr std::int32_t kEosId = 2;
  constexpr std::size_t kLongestPiece = 1024;
  const Tokens tokens = read_tokens(metadata);
  const std::vector<float> scores = read_scores(metadata, tokens);
  if (metadata.flag("tokenizer.ggml.remove_extra_whitespaces", false)) {
    metadata.at("tokenizer.ggml.remove_extra_whitespaces").fail("is true, which is not supported; expected false");
  }
  if (const GgufValue* map = metadata.find("tokenizer.ggml.precompiled_charsmap"); map != nullptr && map->size() > 0) {
    map->fail("is not supported; expected none");
  }
  const bool prefix = metadata.flag("tokenizer.ggml.add_space_prefix", true);
  const std::int32_t unknown = find_id(metadata, "tokenizer.ggml.unknown_token_id", tokens).value_or(kUnknownId);
  if (tokens.texts.empty()) metadata.at("tokenizer.ggml.tokens").fail("is empty");
  Bpe model(Vocabulary(tokens.texts), {.unknown = unknown, .byte_fallback = true, .fuse_unknown = true});
  std::vector<bool> mergeable;
  for (std::size_t id = 0; id < tokens.texts.size(); ++id) {
    mergeable.push_back(tokens.types[id] == kNormal);
    // SentencePiece's longest piece is 16 characters by default; all places where a token may be cut are tried.
    if (mergeable.back() && tokens.texts[id].size() > kLongestPiece) {
      metadata.at("tokenizer.ggml.tokens")
          .fail("token {} has {} bytes; at most {} are supported", id, tokens.texts[id].size(), kLongestPiece);
    }
  }
  model.add_scored_merges(scores, mergeable);
  AddedTokens added = read_added(tokens, model.vocabulary());
  const std::string before = prefix ? R"({"type": "Prepend", "prepend": "▁"}, )" : "";
  const std::string after = prefix ? R"(, {"type": "Strip", "content": " ", "start": 1, "stop": 0})" : "";
  return {
      .normalizer = make_normalizer(
          step(fmt::format(R"({{"type": "Sequence", "normalizers": [{}{}]}})", before, kEscapeSpaces)).root()),
      .pre_tokenizer = {},
      .model = std::move(model),
      .added = std::move(added),
      .wrapping = read_wrapping(metadata, tokens, {.add_bos = true, .add_eos = false, .bos = kBosId, .eos = kEosId}),
      .decoder = make_decoder(
          step(fmt::format(R"({{"type": "Sequence", "decoders": [{}{}]}})", kUnescapeSpaces, after)).root())};
}

}  // namespace

Tokenizer Tokenizer::from_gguf(const core::GgufFile& file) {
  const GgufValue& kind = file.metadata().at("tokenizer.ggml.model");
  if (kind.string() == "gpt2") return Tokenizer(byte_level_parts(file.metadata()));
  if (kind.string() == "llama") return Tokenizer(sentencepiece_parts(file.metadata()));
  kind.fail("{} is not supported; known: gpt2, llama", core::quote(kind.string()));
}

}  // namespace evictlab::runtime
