#include "runtime/tokenizer/normalizer.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "runtime/tokenizer/normal_form.hpp"
#include "runtime/tokenizer/pattern.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

constexpr std::string_view kKnown = "NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Sequence";

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
Normalizer replace(Regex pattern, std::string content) {
  return [pattern = std::move(pattern), content = std::move(content)](const AlignedText& text) {
    AlignedText out;
    RegexSearch search(pattern);
    for (const PatternSpan& span : search.spans(text.bytes)) {
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

Normalizer sequence(const JsonNode& list) {
  std::vector<Normalizer> steps;
  for (const JsonNode& item : list.items()) steps.push_back(make_normalizer(item));
  return [steps = std::move(steps)](AlignedText text) {
    for (const Normalizer& step : steps) text = step(std::move(text));
    return text;
  };
}

}  // namespace

Normalizer make_normalizer(const JsonNode& node) {
  const std::string& type = node.type();
  if (type == "NFC") return to_form(NormalForm::kNfc);
  if (type == "NFD") return to_form(NormalForm::kNfd);
  if (type == "NFKC") return to_form(NormalForm::kNfkc);
  if (type == "NFKD") return to_form(NormalForm::kNfkd);
  if (type == "Lowercase") return [](const AlignedText& text) { return lower_case(text); };
  if (type == "Prepend") return prepend(node.at("prepend").string());
  if (type == "Replace") return replace(make_pattern(node.at("pattern")), node.at("content").string());
  if (type == "Sequence") return sequence(node.at("normalizers"));
  node.refuse_type(kKnown);
}

}  // namespace evictlab::runtime
