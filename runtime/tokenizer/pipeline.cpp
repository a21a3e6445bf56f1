#include "runtime/tokenizer/pipeline.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "core/interrupt.hpp"
#include "runtime/tokenizer/byte_level.hpp"
#include "runtime/tokenizer/error.hpp"
#include "runtime/tokenizer/normal_form.hpp"
#include "runtime/tokenizer/regex.hpp"
#include "runtime/tokenizer/utf8.hpp"
#include "runtime/tokenizer/vocabulary.hpp"

namespace evictlab::runtime {
namespace {

constexpr std::string_view kNormalizers = "NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Sequence";

Normalizer to_form(NormalForm form) {
  return [form](const AlignedText& text) { return normalize(text, form); };
}

// What is prepended counts as part of the first character.
Normalizer prepend(std::string prefix) {
  return [prefix = std::move(prefix)](AlignedText text) {
    if (text.bytes.empty()) return text;
    AlignedText out;
    out.append(prefix, text.origin.front());
    out.append(text, 0, text.bytes.size());
    return out;
  };
}

// What replaces a match comes from the whole match.
Normalizer replace_in_text(Regex pattern, std::string content) {
  return [pattern = std::move(pattern), content = std::move(content)](const AlignedText& text) {
    AlignedText out;
    RegexSearch search(pattern);
    for (const PatternSpan& span : search.spans(text.bytes)) {
      check_growth(text.original_bytes(), out.bytes.size());
      if (!span.matched) {
        out.append(text, span.begin, span.end);
      } else if (span.begin < span.end) {
        out.append(content, text.origin_of(span.begin, span.end));
      } else {
        const std::size_t at = span.begin > 0 ? text.origin[span.begin - 1].end : 0;
        out.append(content, {at, at});
      }
    }
    return out;
  };
}

Normalizer normalizers_in_sequence(const core::JsonNode& list) {
  std::vector<Normalizer> steps;
  for (const core::JsonNode& item : list.items()) steps.push_back(make_normalizer(item));
  return [steps = std::move(steps)](AlignedText text) {
    for (const Normalizer& step : steps) {
      text = step(std::move(text));
      check_growth(text.original_bytes(), text.bytes.size());
    }
    return text;
  };
}

constexpr std::string_view kPreTokenizers =
    "ByteLevel, Split, Digits, Whitespace, WhitespaceSplit, Metaspace, Punctuation, Sequence";

// What becomes of the matches of a pattern, by the library's names.
enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behavior behavior(const core::JsonNode& node) {
  const std::string& name = node.string();
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  node.fail("{} is no behavior; known: Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous",
            core::quote(name));
}

// Appends the pieces that `spans`, the whole of a text in order, leave under `behavior`.
void cut(const std::vector<PatternSpan>& spans, Behavior behavior, bool invert, std::vector<Piece>& pieces) {
  const auto is_match = [&](const PatternSpan& span) { return span.matched != invert; };
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const bool match = is_match(spans[i]);
    const bool match_before = i > 0 && is_match(spans[i - 1]);
    const bool match_after = i + 1 < spans.size() && is_match(spans[i + 1]);
    if (behavior == Behavior::kRemoved && match) continue;
    const bool joins_previous = (behavior == Behavior::kContiguous && i > 0 && match == match_before) ||
                                (behavior == Behavior::kMergedWithPrevious && match && !match_before);
    if (joins_previous && !pieces.empty()) {
      pieces.back().end = spans[i].end;
    } else if (behavior == Behavior::kMergedWithNext && match && !match_after && i + 1 < spans.size()) {
      pieces.push_back({spans[i].begin, spans[i + 1].end, kNoToken});
      ++i;
    } else {
      pieces.push_back({spans[i].begin, spans[i].end, kNoToken});
    }
  }
}

PreTokenizer split_by(Regex pattern, Behavior behavior, bool invert) {
  return [pattern = std::move(pattern), behavior, invert](PiecedText& pieced) {
    RegexSearch search(pattern);
    split_pieces(pieced, [&](std::string_view text, std::vector<Piece>& parts) {
      cut(search.spans(text), behavior, invert, parts);
    });
  };
}

template <typename Predicate>
PreTokenizer split_characters(Predicate matches, Behavior behavior) {
  return [matches, behavior](PiecedText& pieced) {
    split_pieces(pieced, [&](std::string_view text, std::vector<Piece>& parts) {
      std::vector<PatternSpan> spans;
      for (std::size_t at = 0; at < text.size();) {
        core::throw_if_interrupted();
        const CodePoint point = code_point_at(text, at);
        const bool match = matches(point.value);
        if (!match && !spans.empty() && !spans.back().matched) {
          spans.back().end += point.size;
        } else {
          spans.push_back({at, at + point.size, match});
        }
        at += point.size;
      }
      cut(spans, behavior, false, parts);
    });
  };
}

bool is_numeric(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

void prefix_space(PiecedText& pieced) {
  rewrite_pieces(pieced, [](const AlignedText& text, const Piece& piece, AlignedText& out) {
    if (text.bytes[piece.begin] != ' ') out.append(" ", text.origin[piece.begin]);
    out.append(text, piece.begin, piece.end);
  });
}

void bytes_to_symbols(PiecedText& pieced) {
  rewrite_pieces(pieced, [](const AlignedText& text, const Piece& piece, AlignedText& out) {
    for (std::size_t at = piece.begin; at < piece.end; ++at) {
      out.append(byte_to_symbol(static_cast<std::uint8_t>(text.bytes[at])), text.origin[at]);
    }
  });
}

PreTokenizer byte_level(const core::JsonNode& node) {
  const bool add_prefix_space = node.at("add_prefix_space").boolean();
  PreTokenizer words;
  if (node.flag("use_regex", true)) words = split_by(Regex::compile(kGpt2Pattern), Behavior::kIsolated, false);
  return [add_prefix_space, words = std::move(words)](PiecedText& pieced) {
    if (add_prefix_space) prefix_space(pieced);
    if (words) words(pieced);
    bytes_to_symbols(pieced);
  };
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return (c > ' ' && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a') || (c > 'z' && c < 0x7F);
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

/// What Metaspace writes in place of a space, and where it writes one more.
struct Metaspace {
  enum class Prepend { kAlways, kFirst, kNever };
  char32_t replacement = 0;
  std::string text;  // of the replacement
  Prepend prepend = Prepend::kAlways;
};

/// Files of before 0.15 of the library say add_prefix_space instead of a scheme.
Metaspace read_metaspace(const core::JsonNode& node) {
  using Prepend = Metaspace::Prepend;
  Metaspace metaspace;
  const core::JsonNode replacement = node.at("replacement");
  metaspace.text = replacement.string();
  if (metaspace.text.empty() || code_point_at(metaspace.text, 0).size != metaspace.text.size()) {
    replacement.fail("{} is not one character", core::quote(metaspace.text));
  }
  metaspace.replacement = code_point_at(metaspace.text, 0).value;
  const auto scheme = node.find("prepend_scheme");
  if (!scheme) {
    metaspace.prepend = node.flag("add_prefix_space", true) ? Prepend::kAlways : Prepend::kNever;
    return metaspace;
  }
  const std::string& name = scheme->string();
  if (name != "always" && name != "first" && name != "never") {
    scheme->fail("{} is no scheme; known: always, first, never", core::quote(name));
  }
  metaspace.prepend = name == "always" ? Prepend::kAlways : name == "first" ? Prepend::kFirst : Prepend::kNever;
  return metaspace;
}

PreTokenizer metaspace_words(const core::JsonNode& node) {
  const Metaspace metaspace = read_metaspace(node);
  PreTokenizer words;
  if (node.flag("split", true)) {
    words = split_characters([replacement = metaspace.replacement](char32_t c) { return c == replacement; },
                             Behavior::kMergedWithNext);
  }
  return [metaspace, words = std::move(words)](PiecedText& pieced) {
    rewrite_pieces(pieced, [&](const AlignedText& text, const Piece& piece, AlignedText& out) {
      const std::string_view bytes = std::string_view(text.bytes).substr(piece.begin, piece.end - piece.begin);
      const bool wanted = metaspace.prepend == Metaspace::Prepend::kAlways ||
                          (metaspace.prepend == Metaspace::Prepend::kFirst && text.origin[piece.begin].begin == 0);
      const bool there = bytes.starts_with(' ') || bytes.starts_with(metaspace.text);
      if (wanted && !there) out.append(metaspace.text, text.origin[piece.begin]);
      for (std::size_t at = piece.begin; at < piece.end; ++at) {
        if (text.bytes[at] == ' ') {
          out.append(metaspace.text, text.origin[at]);
        } else {
          out.append(text, at, at + 1);
        }
      }
    });
    if (words) words(pieced);
  };
}

PreTokenizer pre_tokenizers_in_sequence(const core::JsonNode& list) {
  std::vector<PreTokenizer> steps;
  for (const core::JsonNode& item : list.items()) steps.push_back(make_pre_tokenizer(item));
  return [steps = std::move(steps)](PiecedText& pieced) {
    for (const PreTokenizer& step : steps) step(pieced);
  };
}

/// RobertaProcessing and BertProcessing: "cls" before the text and "sep" behind it, each [token, id].
Template read_enclosing(const core::JsonNode& node) {
  const auto id = [&node](const char* key) {
    const std::vector<core::JsonNode> pair = node.at(key).items();
    if (pair.size() != 2) node.at(key).fail("expected a token and its id");
    return static_cast<std::int32_t>(pair[1].integer(0, kMaxTokenId));
  };
  return {.before = {id("cls")}, .after = {id("sep")}};
}

Template read_template(const core::JsonNode& node) {
  const core::JsonNode special_tokens = node.at("special_tokens");
  Template result;
  bool text_seen = false;
  for (const core::JsonNode& item : node.at("single").items()) {
    if (const auto sequence = item.find("Sequence")) {
      if (sequence->at("id").string() != "A" || text_seen) sequence->fail("expected the sequence 'A', once");
      text_seen = true;
      continue;
    }
    const core::JsonNode entry = special_tokens.at(item.at("SpecialToken").at("id").string());
    for (const core::JsonNode& id : entry.at("ids").items()) {
      auto& side = text_seen ? result.after : result.before;
      side.push_back(static_cast<std::int32_t>(id.integer(0, kMaxTokenId)));
    }
  }
  if (!text_seen) node.fail("the template 'single' has no sequence 'A'");
  return result;
}

using Texts = std::vector<std::string>;

std::string joined_texts(const Texts& texts) {
  std::string joined;
  for (const std::string& text : texts) joined += text;
  return joined;
}

Texts from_byte_level(const Texts& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += token_bytes(token);
  return {replace_invalid_utf8(bytes)};
}

// The byte that "<0x41>" stands for.
std::optional<char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    constexpr std::string_view kDigits = "0123456789ABCDEFabcdef";
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    value = value * 16 + static_cast<int>(digit < 16 ? digit : digit - 6);
  }
  return static_cast<char>(static_cast<unsigned char>(value));
}

// Runs of byte tokens become text; of a run that is not UTF-8 each byte becomes U+FFFD.
Texts from_byte_fallback(const Texts& tokens) {
  Texts texts;
  std::string run;
  const auto flush = [&] {
    if (find_invalid_utf8(run)) {
      texts.insert(texts.end(), run.size(), "\uFFFD");
    } else if (!run.empty()) {
      texts.push_back(run);
    }
    run.clear();
  };
  for (const std::string& token : tokens) {
    if (const auto byte = fallback_byte(token)) {
      run += *byte;
    } else {
      flush();
      texts.push_back(token);
    }
  }
  flush();
  return texts;
}

Decoder replace_in_tokens(Regex pattern, std::string content) {
  return [pattern = std::move(pattern), content = std::move(content)](Texts texts) {
    RegexSearch search(pattern);
    for (std::string& text : texts) {
      std::string replaced;
      for (const PatternSpan& span : search.spans(text)) {
        check_growth(text.size(), replaced.size());
        replaced += span.matched ? content : text.substr(span.begin, span.end - span.begin);
      }
      text = std::move(replaced);
    }
    return texts;
  };
}

// Takes up to `start` of the character off the start of each text, up to `stop` off its end.
Decoder strip(std::string character, std::int64_t start, std::int64_t stop) {
  return [character = std::move(character), start, stop](Texts texts) {
    for (std::string& text : texts) {
      std::string_view rest = text;
      for (std::int64_t i = 0; i < start && rest.starts_with(character); ++i) rest.remove_prefix(character.size());
      for (std::int64_t i = 0; i < stop && rest.ends_with(character); ++i) rest.remove_suffix(character.size());
      text = std::string(rest);
    }
    return texts;
  };
}

/// Replacements become spaces; the first token's are those that were prepended.
Decoder metaspace_decoder(const core::JsonNode& node) {
  const Metaspace metaspace = read_metaspace(node);
  return [metaspace](Texts texts) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const bool dropped = i == 0 && metaspace.prepend != Metaspace::Prepend::kNever;
      std::string replaced;
      for (std::size_t at = 0; at < texts[i].size();) {
        const std::size_t found = std::min(texts[i].find(metaspace.text, at), texts[i].size());
        replaced.append(texts[i], at, found - at);
        if (found < texts[i].size() && !dropped) replaced += ' ';
        at = found + metaspace.text.size();
      }
      texts[i] = std::move(replaced);
    }
    return texts;
  };
}

Decoder make_strip(const core::JsonNode& node) {
  const std::string& content = node.at("content").string();
  if (content.empty() || code_point_at(content, 0).size != content.size()) {
    node.fail("content {} is not one character", core::quote(content));
  }
  return strip(content, node.at("start").integer(0, INT32_MAX), node.at("stop").integer(0, INT32_MAX));
}

Decoder decoders_in_sequence(const core::JsonNode& list) {
  std::vector<Decoder> steps;
  for (const core::JsonNode& item : list.items()) steps.push_back(make_decoder(item));
  return [steps = std::move(steps)](Texts texts) {
    const std::size_t original = joined_texts(texts).size();
    for (const Decoder& step : steps) {
      texts = step(std::move(texts));
      check_growth(original, joined_texts(texts).size());
    }
    return texts;
  };
}

}  // namespace

Normalizer make_normalizer(const core::JsonNode& node) {
  const std::string& type = node.at("type").string();
  if (type == "NFC") return to_form(NormalForm::kNfc);
  if (type == "NFD") return to_form(NormalForm::kNfd);
  if (type == "NFKC") return to_form(NormalForm::kNfkc);
  if (type == "NFKD") return to_form(NormalForm::kNfkd);
  if (type == "Lowercase") return [](const AlignedText& text) { return lower_case(text); };
  if (type == "Prepend") return prepend(node.at("prepend").string());
  if (type == "Replace") return replace_in_text(Regex::read(node.at("pattern")), node.at("content").string());
  if (type == "Sequence") return normalizers_in_sequence(node.at("normalizers"));
  refuse_type(node, kNormalizers);
}

PreTokenizer make_pre_tokenizer(const core::JsonNode& node) {
  const std::string& type = node.at("type").string();
  if (type == "ByteLevel") return byte_level(node);
  if (type == "Split") {
    return split_by(Regex::read(node.at("pattern")), behavior(node.at("behavior")), node.flag("invert", false));
  }
  if (type == "Digits") {
    const bool individual = node.at("individual_digits").boolean();
    return split_characters(is_numeric, individual ? Behavior::kIsolated : Behavior::kContiguous);
  }
  if (type == "Whitespace") {
    const std::string words = fmt::format(R"({0}+|[^{0}\s]+)", kRustWord);
    return split_by(Regex::compile(words), Behavior::kRemoved, true);
  }
  if (type == "Metaspace") return metaspace_words(node);
  if (type == "Punctuation") {
    const auto given = node.find("behavior");
    return split_characters(is_punctuation, given ? behavior(*given) : Behavior::kIsolated);
  }
  if (type == "WhitespaceSplit") return split_characters(is_white_space, Behavior::kRemoved);
  if (type == "Sequence") return pre_tokenizers_in_sequence(node.at("pretokenizers"));
  refuse_type(node, kPreTokenizers);
}

Template make_template(const core::JsonNode& node) {
  const std::string& type = node.at("type").string();
  if (type == "TemplateProcessing") return read_template(node);
  if (type == "ByteLevel") return {};
  if (type == "RobertaProcessing" || type == "BertProcessing") return read_enclosing(node);
  if (type != "Sequence") {
    refuse_type(node, "TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel, Sequence");
  }
  Template result;
  for (const core::JsonNode& item : node.at("processors").items()) {
    const Template outer = make_template(item);  // encloses what the ones before it added
    result.before.insert(result.before.begin(), outer.before.begin(), outer.before.end());
    result.after.insert(result.after.end(), outer.after.begin(), outer.after.end());
  }
  return result;
}

Decoder make_decoder(const core::JsonNode& node) {
  const std::string& type = node.at("type").string();
  if (type == "ByteLevel") return from_byte_level;
  if (type == "ByteFallback") return from_byte_fallback;
  if (type == "Fuse") return [](const Texts& texts) { return Texts{joined_texts(texts)}; };
  if (type == "Replace") return replace_in_tokens(Regex::read(node.at("pattern")), node.at("content").string());
  if (type == "Strip") return make_strip(node);
  if (type == "Metaspace") return metaspace_decoder(node);
  if (type == "Sequence") return decoders_in_sequence(node.at("decoders"));
  refuse_type(node, "ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, Sequence");
}

}  // namespace evictlab::runtime
