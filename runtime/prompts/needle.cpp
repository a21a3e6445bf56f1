#include "runtime/prompts/needle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/random.hpp"
#include "core/text.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

constexpr const char* kForm =
    "A number is hidden in the following text. Remember it; you will be asked for it afterwards.\n\n{context}\n\n"
    "{question} The number of the archive is";
constexpr const char* kQuestion = "What is the number of the archive that the text mentions?";

std::string needle_sentence(const std::string& number) {
  return fmt::format(" The number of the archive is {}. ", number);
}

/// Where the last sentence of text[0, limit) ends; 0 when none does.
std::size_t sentence_end(std::string_view text, std::size_t limit) {
  constexpr std::array<std::string_view, 5> kEnds = {". ", "\n", "? ", "! ", "\u3002"};
  std::size_t last = 0;
  for (const std::string_view end : kEnds) {
    if (limit < end.size()) continue;
    const auto at = text.rfind(end, limit - end.size());
    if (at != std::string_view::npos) last = std::max(last, at + end.size());
  }
  return last;
}

/// The needle in the first `room` tokens of the haystack.
Prompt hide(std::string_view haystack, const Encoding& encoding, std::size_t room, double depth,
            const std::string& number, const PromptTemplate& form) {
  const std::string_view body = haystack.substr(0, encoding.ranges[room - 1].end);
  const auto target = static_cast<std::size_t>(std::lround(depth * static_cast<double>(body.size())));
  const std::size_t at = target == body.size() ? target : sentence_end(body, target);
  const std::string needle = needle_sentence(number);
  Prompt prompt;
  form.fill(std::string(body.substr(0, at)) + needle + std::string(body.substr(at)), kQuestion, prompt);
  const auto context = std::ranges::find(prompt.spans, "context", &Prompt::Span::name);
  const std::int64_t start = context->start + code_points(body.substr(0, at)) + 1;
  prompt.spans.push_back({"needle", start, start + code_points(needle) - 2});
  prompt.answer = number;
  return prompt;
}

}  // namespace

std::vector<Prompt> needle_prompts(std::string_view haystack, const std::string& source, const NeedleGrid& grid,
                                   const TextTokenizer& tokenizer, const PromptTemplate* form) {
  if (core::trim(haystack).empty()) throw PromptError("{}: holds no text to hide a needle in", source);
  const PromptTemplate own(kForm, source);
  const PromptTemplate& words = form == nullptr ? own : *form;
  // No token is of less than no bytes, so this many repetitions are enough for the longest length.
  const std::int64_t longest = grid.lengths.empty() ? 0 : *std::ranges::max_element(grid.lengths);
  std::string text(haystack);
  Encoding encoding = tokenizer.encode(text, false);
  while (static_cast<std::int64_t>(encoding.ids.size()) < longest) {
    text += text + "\n";
    encoding = tokenizer.encode(text, false);
  }
  std::vector<Prompt> prompts;
  for (const std::int64_t length : grid.lengths) {
    for (const double depth : grid.depths) {
      const std::string id = fmt::format("{}-{}-{:g}", grid.name, length, depth);
      core::SplitMix64 random(grid.seed ^ core::text_hash(id));
      const std::string number = fmt::format("{}", 1000 + random.next() % 9000);
      // Tokens at the seams may merge or split: less of the text is taken until the whole fits.
      std::int64_t room = length;
      Prompt prompt;
      for (std::int64_t excess = 1; excess > 0; room -= excess) {
        if (room < 1) throw PromptError("{}: a prompt of {} positions leaves no room for the text", source, length);
        prompt = hide(text, encoding, static_cast<std::size_t>(room), depth, number, words);
        excess = static_cast<std::int64_t>(tokenizer.encode(prompt.text, true).ids.size()) - length;
      }
      prompt.id = id;
      prompt.task = "needle";
      prompt.source = source;
      prompt.from_template = form != nullptr;
      prompts.push_back(std::move(prompt));
    }
  }
  return prompts;
}

}  // namespace evictlab::runtime
