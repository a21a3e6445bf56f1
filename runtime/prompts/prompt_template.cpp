#include "runtime/prompts/prompt_template.hpp"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

namespace evictlab::runtime {
namespace {

constexpr std::string_view kContext = "{context}";
constexpr std::array<std::string_view, 3> kPlaces = {kContext, "{input}", "{question}"};

/// The first place at or after `from`: where it is and which. npos when there is none.
std::pair<std::size_t, std::string_view> next_place(std::string_view text, std::size_t from) {
  std::pair<std::size_t, std::string_view> first{std::string_view::npos, {}};
  for (const std::string_view place : kPlaces) first = std::min(first, {text.find(place, from), place});
  return first;
}

}  // namespace

std::int64_t code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U; });
}

PromptTemplate::PromptTemplate(std::string text, const std::string& where) : text_(std::move(text)) {
  const auto first = text_.find(kContext);
  if (first == std::string::npos) throw PromptError("{}: a prompt template needs {{context}}", where);
  if (text_.find(kContext, first + 1) != std::string::npos) {
    throw PromptError("{}: a prompt template takes {{context}} once", where);
  }
}

bool PromptTemplate::asks() const {
  return std::any_of(kPlaces.begin(), kPlaces.end(), [&](std::string_view place) {
    return place != kContext && text_.find(place) != std::string::npos;
  });
}

void PromptTemplate::fill(std::string_view context, std::string_view question, Prompt& prompt) const {
  std::string& out = prompt.text;
  std::int64_t context_end = 0;
  bool asked = false;
  const auto put = [&](const char* name, std::string_view part) {
    const std::int64_t start = code_points(out);
    out += part;
    prompt.spans.push_back({name, start, start + code_points(part)});
  };
  std::size_t at = 0;
  for (auto [place, name] = next_place(text_, 0); place != std::string::npos;
       std::tie(place, name) = next_place(text_, at)) {
    out += std::string_view(text_).substr(at, place - at);
    if (name == kContext) {
      put("context", context);
      context_end = prompt.spans.back().end;
    } else if (!question.empty()) {
      put("question", question);
      asked = true;
    }
    at = place + name.size();
  }
  out += std::string_view(text_).substr(at);
  const std::int64_t end = code_points(out);
  if (!asked && context_end < end) prompt.spans.push_back({"question", context_end, end});
}

}  // namespace evictlab::runtime
