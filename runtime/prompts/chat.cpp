#include "runtime/prompts/chat.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "core/message.hpp"
#include "core/text.hpp"
#include "runtime/prompts/jinja/lexer.hpp"
#include "runtime/prompts/prompt_template.hpp"

namespace evictlab::runtime {
namespace {

constexpr std::string_view kBegin = "\uE0A0";
constexpr std::string_view kEnd = "\uE0A1";

/// What stands for the words of a message while its place in the rendered text is found: two private-use characters
/// around a number, which no template looks for.
std::string placeholder(std::size_t message) { return fmt::format("{}{}{}", kBegin, message, kEnd); }

/// Where a message's words are in the rendered text, in bytes, and how many of the first the template left out.
struct Place {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t left_out = 0;
};

/// Follows the words of messages into the rendered text.
class MovedWords {
 public:
  MovedWords(const ChatRenderer& render, const std::vector<ChatMessage>& messages, const std::string& text)
      : messages_(messages), text_(text), places_(messages.size()) {
    std::vector<ChatMessage> marked = messages;
    for (std::size_t i = 0; i < marked.size(); ++i) marked[i].content = placeholder(i);
    found_ = match(render(marked, true));
  }

  /// None where the template does not write the message's words once, as they are but for space at their ends.
  std::optional<Place> of(std::size_t message) const { return found_ ? places_[message] : std::nullopt; }

 private:
  /// Whether the rendered text is `skeleton` with words in the places of placeholders.
  bool match(const std::string& skeleton) {
    std::size_t at = 0;
    for (std::string_view rest = skeleton;;) {
      const auto [begin, message] = next_placeholder(rest);
      const std::string_view literal = rest.substr(0, begin);
      if (text_.compare(at, literal.size(), literal) != 0) return false;
      at += literal.size();
      if (begin == rest.size()) return at == text_.size();
      rest.remove_prefix(begin + placeholder(message).size());
      const std::string_view after = rest.substr(0, next_placeholder(rest).first);
      const std::optional<Place> place = words_at(at, message, after);
      if (!place || places_[message]) return false;
      places_[message] = place;
      at = place->end;
    }
  }

  /// Where the next placeholder begins and its message; the skeleton's size where there is none.
  std::pair<std::size_t, std::size_t> next_placeholder(std::string_view skeleton) const {
    for (std::size_t at = skeleton.find(kBegin); at != std::string_view::npos; at = skeleton.find(kBegin, at + 1)) {
      const std::string_view number = skeleton.substr(at + kBegin.size());
      const auto message = core::parse_integer(number.substr(0, number.find(kEnd)));
      if (message && *message >= 0 && std::cmp_less(*message, messages_.size()) &&
          skeleton.substr(at).starts_with(placeholder(static_cast<std::size_t>(*message)))) {
        return {at, static_cast<std::size_t>(*message)};
      }
    }
    return {skeleton.size(), 0};
  }

  /// The message's words at `at`, with or without the space at their ends, if `after` follows them.
  std::optional<Place> words_at(std::size_t at, std::size_t message, std::string_view after) const {
    const std::string_view words = messages_[message].content;
    const std::string_view from_start = jinja::strip_start(words);
    const std::array<std::string_view, 4> forms = {words, jinja::strip_end(from_start), jinja::strip_end(words),
                                                   from_start};
    for (const std::string_view form : forms) {
      if (text_.compare(at, form.size(), form) != 0 || text_.compare(at + form.size(), after.size(), after) != 0) {
        continue;
      }
      return Place{at, at + form.size(), form.empty() ? 0 : static_cast<std::size_t>(form.data() - words.data())};
    }
    return std::nullopt;
  }

  const std::vector<ChatMessage>& messages_;
  const std::string& text_;
  std::vector<std::optional<Place>> places_;
  bool found_ = false;
};

void check(const Prompt& prompt) {
  if (prompt.tokens) {
    throw PromptError("prompt '{}' ({}): is token ids, which no chat template takes; give \"messages\" or \"prompt\"",
                      prompt.id, prompt.source);
  }
  if (prompt.messages.empty() || prompt.messages.back().role != "user") {
    throw PromptError(
        "prompt '{}' ({}): its \"messages\" must end with one of role \"user\"; what the assistant says to it is the "
        "\"answer\"",
        prompt.id, prompt.source);
  }
  for (const Prompt::Span& span : prompt.spans) {
    if (span.message < prompt.messages.size()) continue;
    throw PromptError("prompt '{}' ({}): span '{}' is in message {}, of {}", prompt.id, prompt.source, span.name,
                      span.message, prompt.messages.size());
  }
}

/// Spans count code points of their message's words; from here on, of the whole text.
void move_spans(const ChatRenderer& render, const std::string& text, Prompt& prompt) {
  if (prompt.spans.empty()) return;
  const MovedWords moved(render, prompt.messages, text);
  for (Prompt::Span& span : prompt.spans) {
    const std::string& words = prompt.messages[span.message].content;
    const std::int64_t length = code_points(words);
    if (span.start < 0 || span.end < span.start || span.end > length) {
      throw PromptError("prompt '{}' ({}): span '{}' is {}..{}, outside the {} characters of message {}", prompt.id,
                        prompt.source, span.name, span.start, span.end, length, span.message);
    }
    const std::optional<Place> place = moved.of(span.message);
    if (!place) {
      throw PromptError(
          "prompt '{}' ({}): the chat template changes the words of message {}, so its span '{}' cannot be followed",
          prompt.id, prompt.source, span.message, span.name);
    }
    const std::int64_t begin = code_points(std::string_view(text).substr(0, place->begin));
    const std::int64_t kept = code_points(std::string_view(text).substr(place->begin, place->end - place->begin));
    const std::int64_t left_out = code_points(std::string_view(words).substr(0, place->left_out));
    span.start = begin + std::clamp<std::int64_t>(span.start - left_out, 0, kept);
    span.end = begin + std::clamp<std::int64_t>(span.end - left_out, 0, kept);
    span.message = 0;
  }
}

/// What the template writes after the assistant's last words.
std::string text_after_answer(const ChatRenderer& render, std::vector<ChatMessage> messages, const Prompt& prompt) {
  const std::string words = placeholder(messages.size());
  (messages.end() - 2)->content = words;
  const std::string text = render(messages, true);
  const std::size_t at = text.find(words);
  if (at == std::string::npos || text.find(words, at + 1) != std::string::npos) {
    throw PromptError(
        "prompt '{}' ({}): the chat template does not keep what the assistant said, so no question can "
        "follow it",
        prompt.id, prompt.source);
  }
  return text.substr(at + words.size());
}

}  // namespace

void apply_chat(const ChatRenderer& render, Prompt& prompt) {
  if (prompt.messages.empty() && !prompt.text.empty()) prompt.messages.push_back({"user", std::move(prompt.text)});
  check(prompt);
  std::string text = render(prompt.messages, true);
  move_spans(render, text, prompt);
  std::vector<ChatMessage> history = prompt.messages;
  std::string answer = prompt.answer;
  for (Prompt::Followup& followup : prompt.followups) {
    history.push_back({"assistant", std::move(answer)});
    history.push_back({"user", followup.text});
    followup.text = text_after_answer(render, history, prompt);
    answer = followup.answer;
  }
  prompt.text = text + prompt.answer_start.chat;
  prompt.answer_start = {};
  prompt.messages.clear();
  prompt.has_special_tokens = true;
}

}  // namespace evictlab::runtime
