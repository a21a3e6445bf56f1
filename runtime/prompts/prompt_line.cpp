#include "runtime/prompts/prompt_line.hpp"

#include <initializer_list>
#include <limits>

#include "core/message.hpp"

namespace evictlab::runtime {
namespace {

/// Templates write these as well: leaving them out would ask the model something else.
void refuse_unread(const core::JsonNode& node, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    const auto value = node.find(key);
    if (!value || (value->is_array() && value->size() == 0)) continue;
    value->fail("is not supported; of a conversation the role and the content of its messages are read");
  }
}

}  // namespace

std::string PromptLine::text(std::string_view key) const {
  const auto value = line_.find(key);
  if (!value) return {};
  const bool is_id = key == "id" || key == "_id" || key == "index";
  return is_id && value->is_integer() ? value->text() : value->string();
}

std::vector<std::string> PromptLine::texts(std::string_view key) const {
  const auto list = line_.find(key);
  return list ? list->strings() : std::vector<std::string>();
}

std::optional<std::vector<std::int32_t>> PromptLine::token_ids(std::string_view key) const {
  const auto list = line_.find(key);
  if (!list) return std::nullopt;
  const std::vector<std::int64_t> ids = list->integers(0, std::numeric_limits<std::int32_t>::max());
  return std::vector<std::int32_t>(ids.begin(), ids.end());
}

std::vector<Prompt::Span> PromptLine::spans() const {
  constexpr auto kFarthest = std::numeric_limits<std::int64_t>::max();
  std::vector<Prompt::Span> spans;
  const auto list = line_.find("spans");
  if (!list) return spans;
  for (const core::JsonNode& entry : list->items()) {
    spans.push_back({entry.at("name").string(), entry.at("start").integer(-kFarthest, kFarthest),
                     entry.at("end").integer(-kFarthest, kFarthest),
                     static_cast<std::size_t>(entry.find_integer("message", 0, kFarthest).value_or(0))});
  }
  return spans;
}

std::vector<ChatMessage> PromptLine::messages() const {
  std::vector<ChatMessage> messages;
  const auto list = line_.find("messages");
  if (!list) return messages;
  refuse_unread(line_, {"tools", "documents"});
  for (const core::JsonNode& entry : list->items()) {
    messages.push_back({entry.at("role").string(), entry.at("content").string()});
    refuse_unread(entry, {"tool_calls", "tool_call_id", "reasoning_content", "thinking"});
  }
  if (messages.empty()) list->fail("is empty");
  return messages;
}

std::string PromptLine::metric() const {
  const auto name = line_.find("metric");
  if (!name) return "exact";
  const std::string& text = name->string();
  if (text != "exact" && text != "f1" && text != "rouge-l") {
    name->fail("expected exact, f1 or rouge-l, got {}", core::quote(text));
  }
  return text;
}

std::vector<Prompt::Followup> PromptLine::followups() const {
  std::vector<Prompt::Followup> followups;
  const auto list = line_.find("followups");
  if (!list) return followups;
  for (const core::JsonNode& entry : list->items()) {
    const PromptLine line(entry);
    followups.push_back({line.text("prompt"), line.text("answer"), line.text("stop")});
    if (followups.back().text.empty() || followups.back().answer.empty()) {
      entry.fail("must have \"prompt\" and \"answer\"");
    }
  }
  return followups;
}

}  // namespace evictlab::runtime
