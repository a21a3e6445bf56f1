#include "runtime/tokenizer/tokenizer.hpp"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/file.hpp"
#include "core/interrupt.hpp"
#include "core/json.hpp"
#include "runtime/tokenizer/error.hpp"
#include "runtime/tokenizer/tokenizer_parts.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

template <typename Make>
auto make_optional_part(const core::JsonNode& root, const char* key, const Make& make) -> decltype(make(root)) {
  if (const auto node = root.find(key)) return make(*node);
  return {};
}

// Words recur; the tokens of the first ones are kept. The words must outlive the cache.
class WordCache {
 public:
  explicit WordCache(const Bpe& model) : model_(model) {}

  const std::vector<WordToken>& tokenize(std::string_view word) {
    constexpr std::size_t kMaxWords = 1 << 16;
    constexpr std::size_t kMaxBytes = 256;
    if (const auto found = words_.find(word); found != words_.end()) return found->second;
    if (words_.size() < kMaxWords && word.size() <= kMaxBytes) return words_[word] = model_.tokenize(word);
    return uncached_ = model_.tokenize(word);
  }

 private:
  const Bpe& model_;
  std::unordered_map<std::string_view, std::vector<WordToken>> words_;
  std::vector<WordToken> uncached_;
};

TokenizerParts read_parts(const core::JsonNode& root) {
  Normalizer normalizer = make_optional_part(root, "normalizer", make_normalizer);
  PreTokenizer pre_tokenizer = make_optional_part(root, "pre_tokenizer", make_pre_tokenizer);
  Bpe model(root.at("model"));
  AddedTokens added(read_added_tokens(root.find("added_tokens"), model.vocabulary(), normalizer));
  return {.normalizer = std::move(normalizer),
          .pre_tokenizer = std::move(pre_tokenizer),
          .model = std::move(model),
          .added = std::move(added),
          .wrapping = make_optional_part(root, "post_processor", make_template),
          .decoder = make_optional_part(root, "decoder", make_decoder)};
}

}  // namespace

struct Tokenizer::Parts : TokenizerParts {
  explicit Parts(TokenizerParts parts) : TokenizerParts(std::move(parts)) {
    for (const AddedToken& token : added.tokens()) {
      added_ids.emplace(token.content, token.id);
      added_texts.emplace(token.id, token.text);
      if (!token.special) continue;
      special_ids.push_back(token.id);
      special_texts.insert(token.content);
    }
  }

  const std::string* text(std::int32_t id) const {
    const auto found = added_texts.find(id);
    return found == added_texts.end() ? model.vocabulary().token(id) : &found->second;
  }

  std::unordered_map<std::string, std::int32_t> added_ids;
  std::unordered_map<std::int32_t, std::string> added_texts;
  std::vector<std::int32_t> special_ids;
  std::unordered_set<std::string> special_texts;  // a special token that normalization changes is not left out
};

Tokenizer::Tokenizer(TokenizerParts parts) : parts_(std::make_unique<Parts>(std::move(parts))) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& file) { return parse(core::read_text(file), file.string()); }

Tokenizer Tokenizer::parse(std::string_view json, const std::string& name) {
  const auto document = core::JsonDocument::parse<TokenizerError>(json, name);
  const core::JsonNode root = document.root();
  // Truncation and padding are left over from training: transformers switches them off for a text of its own.
  Tokenizer tokenizer(read_parts(root));
  const Parts& parts = *tokenizer.parts_;
  for (const auto* side : {&parts.wrapping.before, &parts.wrapping.after}) {
    for (const std::int32_t id : *side) {
      if (parts.text(id) == nullptr) root.at("post_processor").fail("adds the id {}, which no token has", id);
    }
  }
  return tokenizer;
}

Encoding Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  if (text.size() > std::numeric_limits<std::uint32_t>::max()) {
    throw TokenizerError("text of {} bytes; at most 2^32-1 can be encoded", text.size());
  }
  if (const auto invalid = find_invalid_utf8(text))
    throw TokenizerError("text is not valid UTF-8 at byte {}", *invalid);

  PiecedText pieced{align(text), {}};
  if (!text.empty()) pieced.pieces.push_back({0, text.size(), kNoToken});
  parts_->added.extract(pieced, false);
  if (parts_->normalizer) {
    rewrite_pieces(pieced, [&](const AlignedText& whole, const Piece& piece, AlignedText& out) {
      AlignedText part;
      part.append(whole, piece.begin, piece.end);
      part = parts_->normalizer(std::move(part));
      out.append(part, 0, part.bytes.size());
    });
  }
  parts_->added.extract(pieced, true);
  if (parts_->pre_tokenizer) parts_->pre_tokenizer(pieced);

  Encoding encoding;
  const auto add = [&](std::int32_t id, ByteRange range) {
    encoding.ids.push_back(id);
    encoding.ranges.push_back(range);
  };
  if (add_special_tokens) {
    for (const std::int32_t id : parts_->wrapping.before) add(id, {0, 0});
  }
  WordCache words(parts_->model);
  for (const Piece& piece : pieced.pieces) {
    core::throw_if_interrupted();
    if (piece.token != kNoToken) {
      add(piece.token, pieced.text.origin_of(piece.begin, piece.end));
      continue;
    }
    for (const WordToken& token : words.tokenize(pieced.bytes(piece))) {
      add(token.id, pieced.text.origin_of(piece.begin + token.begin, piece.begin + token.end));
    }
  }
  if (add_special_tokens) {
    for (const std::int32_t id : parts_->wrapping.after) add(id, {text.size(), text.size()});
  }
  return encoding;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string> texts;
  texts.reserve(ids.size());
  for (const std::int32_t id : ids) {
    const std::string* text = parts_->text(id);
    if (text == nullptr || (skip_special_tokens && parts_->special_texts.contains(*text))) continue;
    texts.push_back(*text);
  }
  // Without a decoder the library puts spaces between tokens.
  const std::string_view separator = parts_->decoder ? "" : " ";
  if (parts_->decoder) texts = parts_->decoder(std::move(texts));
  std::string joined;
  for (const std::string& text : texts) {
    if (&text != &texts.front()) joined += separator;
    joined += text;
  }
  return joined;
}

std::optional<std::int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const auto found = parts_->added_ids.find(std::string(token));
  return found == parts_->added_ids.end() ? parts_->model.vocabulary().id(token) : std::optional(found->second);
}

std::optional<std::string> Tokenizer::id_to_token(std::int32_t id) const {
  const std::string* text = parts_->text(id);
  return text == nullptr ? std::nullopt : std::optional(*text);
}

std::int32_t Tokenizer::vocab_size() const {
  std::int32_t size = parts_->model.vocabulary().id_limit();
  for (const AddedToken& token : parts_->added.tokens()) size = std::max(size, token.id + 1);
  return size;
}

const std::vector<std::int32_t>& Tokenizer::special_token_ids() const { return parts_->special_ids; }

}  // namespace evictlab::runtime
