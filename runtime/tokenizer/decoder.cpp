#include "runtime/tokenizer/decoder.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "runtime/tokenizer/byte_level.hpp"
#include "runtime/tokenizer/pattern.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

using Texts = std::vector<std::string>;

std::string join(const Texts& texts) {
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

Decoder replace(Regex pattern, std::string content) {
  return [pattern = std::move(pattern), content = std::move(content)](Texts texts) {
    RegexSearch search(pattern);
    for (std::string& text : texts) {
      std::string replaced;
      for (const PatternSpan& span : search.spans(text)) {
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

Decoder make_strip(const JsonNode& node) {
  const std::string& content = node.at("content").string();
  if (content.empty() || code_point_at(content, 0).size != content.size()) {
    node.fail("content {} is not one character", shown(content));
  }
  return strip(content, node.at("start").integer(0, INT32_MAX), node.at("stop").integer(0, INT32_MAX));
}

Decoder sequence(const JsonNode& list) {
  std::vector<Decoder> steps;
  for (const JsonNode& item : list.items()) steps.push_back(make_decoder(item));
  return [steps = std::move(steps)](Texts texts) {
    for (const Decoder& step : steps) texts = step(std::move(texts));
    return texts;
  };
}

}  // namespace

Decoder make_decoder(const JsonNode& node) {
  const std::string& type = node.type();
  if (type == "ByteLevel") return from_byte_level;
  if (type == "ByteFallback") return from_byte_fallback;
  if (type == "Fuse") return [](const Texts& texts) { return Texts{join(texts)}; };
  if (type == "Replace") return replace(make_pattern(node.at("pattern")), node.at("content").string());
  if (type == "Strip") return make_strip(node);
  if (type == "Sequence") return sequence(node.at("decoders"));
  node.refuse_type("ByteLevel, ByteFallback, Fuse, Replace, Strip, Sequence");
}

}  // namespace evictlab::runtime
