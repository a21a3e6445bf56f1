#include "runtime/tokenizer/sentencepiece_tokenizer.hpp"

#include <sentencepiece_processor.h>

#include <exception>
#include <limits>
#include <optional>

#include "core/file.hpp"
#include "core/interrupt.hpp"
#include "core/json.hpp"
#include "runtime/tokenizer/error.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

using sentencepiece::SentencePieceProcessor;

/// The library reports what it finds wrong, but throws what the trie of pieces in it does (a piece that is a NUL).
bool loads(SentencePieceProcessor& processor, const std::string& file) {
  try {
    return processor.LoadFromSerializedProto(file).ok();
  } catch (const std::exception&) {
    return false;
  }
}

/// "bos_token": "<s>" or {"content": "<s>", ...}; the model's own where there is none.
std::int32_t named_token(const core::JsonNode& config, const char* key, std::int32_t otherwise,
                         const SentencePieceProcessor& model) {
  const std::optional<core::JsonNode> named = config.find(key);
  if (!named) return otherwise;
  const core::JsonNode text = named->is_object() ? named->at("content") : *named;
  const std::int32_t id = model.PieceToId(text.string());
  if (model.IdToPiece(id) != text.string())
    text.fail("is {}, which tokenizer.model does not have", core::quote(text.string()));
  return id;
}

/// A character that is spelled in bytes is in the library's range of its last byte alone: all of them get it.
void share_ranges_of_bytes(Encoding& encoding, const SentencePieceProcessor& model) {
  for (std::size_t i = encoding.ids.size(); i-- > 1;) {
    ByteRange& before = encoding.ranges[i - 1];
    const bool bytes = model.IsByte(encoding.ids[i - 1]) && model.IsByte(encoding.ids[i]);
    if (bytes && before.begin == before.end) before = encoding.ranges[i];
  }
}

}  // namespace

struct SentencePieceTokenizer::Model {
  std::string file;
  SentencePieceProcessor processor;

  /// The library trusts what it has loaded: a damaged table of normalisation makes it read anywhere.
  core::ScopedCrashMessage crash_message() const {
    return {file.c_str(), "the SentencePiece library crashed on it; the file is damaged"};
  }
};

SentencePieceTokenizer::SentencePieceTokenizer(const std::filesystem::path& file) : model_(std::make_unique<Model>()) {
  model_->file = file.string();
  const core::ScopedCrashMessage message = model_->crash_message();
  SentencePieceProcessor& processor = model_->processor;
  if (!loads(processor, core::read_text(file)) || processor.GetPieceSize() == 0) {
    throw TokenizerError("{}: not a SentencePiece model", file.string());
  }
  const std::filesystem::path config_file = file.parent_path() / "tokenizer_config.json";
  const auto document = std::filesystem::exists(config_file)
                            ? core::JsonDocument::read<TokenizerError>(config_file)
                            : core::JsonDocument::empty<TokenizerError>(config_file.string());
  const core::JsonNode config = document.root();
  const std::int32_t bos = named_token(config, "bos_token", processor.bos_id(), processor);
  const std::int32_t eos = named_token(config, "eos_token", processor.eos_id(), processor);
  if (bos >= 0 && config.flag("add_bos_token", true)) before_.push_back(bos);
  if (eos >= 0 && config.flag("add_eos_token", false)) after_.push_back(eos);
}

SentencePieceTokenizer::~SentencePieceTokenizer() = default;

Encoding SentencePieceTokenizer::encode(std::string_view text, bool add_special_tokens) const {
  if (text.size() > std::numeric_limits<std::int32_t>::max()) {
    throw TokenizerError("text of {} bytes; at most 2^31-1 can be encoded", text.size());
  }
  if (const auto invalid = find_invalid_utf8(text)) {
    throw TokenizerError("text is not valid UTF-8 at byte {}", *invalid);
  }
  const core::ScopedCrashMessage message = model_->crash_message();
  Encoding encoding;
  const auto add = [&](std::int32_t id, ByteRange range) {
    encoding.ids.push_back(id);
    encoding.ranges.push_back(range);
  };
  // The pieces refer to it.
  const auto encoded = model_->processor.EncodeAsImmutableProto(text);
  for (const auto& piece : encoded.pieces()) {
    add(static_cast<std::int32_t>(piece.id()), {piece.begin(), piece.end()});
  }
  share_ranges_of_bytes(encoding, model_->processor);
  if (!add_special_tokens) return encoding;
  encoding.ids.insert(encoding.ids.begin(), before_.begin(), before_.end());
  encoding.ranges.insert(encoding.ranges.begin(), before_.size(), {0, 0});
  for (const std::int32_t id : after_) add(id, {text.size(), text.size()});
  return encoding;
}

std::string SentencePieceTokenizer::decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const {
  const core::ScopedCrashMessage message = model_->crash_message();
  const SentencePieceProcessor& processor = model_->processor;
  // The library's text of a control token is empty; written out, it stands between what precedes and what follows it.
  std::string text;
  std::vector<int> run;
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= processor.GetPieceSize()) continue;
    if (!skip_special_tokens && processor.IsControl(id)) {
      text += processor.DecodeIds(run) + processor.IdToPiece(id);
      run.clear();
    } else {
      run.push_back(id);
    }
  }
  return text + processor.DecodeIds(run);
}

}  // namespace evictlab::runtime
