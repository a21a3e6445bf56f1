#include "runtime/tokenizer/pre_tokenizer.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "runtime/tokenizer/byte_level.hpp"
#include "runtime/tokenizer/oniguruma.hpp"
#include "runtime/tokenizer/pattern.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

constexpr std::string_view kKnown = "ByteLevel, Split, Digits, Whitespace, WhitespaceSplit, Sequence";

// What becomes of the matches of a pattern, by the library's names.
enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behavior behavior(const JsonNode& node) {
  const std::string& name = node.string();
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  node.fail("{} is no behavior; known: Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous", shown(name));
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

PreTokenizer byte_level(const JsonNode& node) {
  const bool add_prefix_space = node.at("add_prefix_space").boolean();
  PreTokenizer words;
  if (node.flag("use_regex", true)) words = split_by(Regex::oniguruma(kGpt2Pattern), Behavior::kIsolated, false);
  return [add_prefix_space, words = std::move(words)](PiecedText& pieced) {
    if (add_prefix_space) prefix_space(pieced);
    if (words) words(pieced);
    bytes_to_symbols(pieced);
  };
}

PreTokenizer sequence(const JsonNode& list) {
  std::vector<PreTokenizer> steps;
  for (const JsonNode& item : list.items()) steps.push_back(make_pre_tokenizer(item));
  return [steps = std::move(steps)](PiecedText& pieced) {
    for (const PreTokenizer& step : steps) step(pieced);
  };
}

}  // namespace

PreTokenizer make_pre_tokenizer(const JsonNode& node) {
  const std::string& type = node.type();
  if (type == "ByteLevel") return byte_level(node);
  if (type == "Split") {
    return split_by(make_pattern(node.at("pattern")), behavior(node.at("behavior")), node.flag("invert", false));
  }
  if (type == "Digits") {
    const bool individual = node.at("individual_digits").boolean();
    return split_characters(is_numeric, individual ? Behavior::kIsolated : Behavior::kContiguous);
  }
  if (type == "Whitespace") {
    const std::string words = fmt::format("[{0}]+|[^{0}{1}]+", kRustWordMembers, kWhiteSpaceMembers);
    return split_by(Regex::pcre2(words), Behavior::kRemoved, true);
  }
  if (type == "WhitespaceSplit") return split_characters(is_white_space, Behavior::kRemoved);
  if (type == "Sequence") return sequence(node.at("pretokenizers"));
  node.refuse_type(kKnown);
}

}  // namespace evictlab::runtime
