#include <memory>
#include <optional>

#include "core/file.hpp"
#include "core/gguf.hpp"
#include "core/json.hpp"
#include "core/message.hpp"
#include "runtime/prompts/chat.hpp"
#include "runtime/prompts/jinja/template.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

namespace fs = std::filesystem;

/// A special token, which is a text or an object that has it as "content".
std::string special_token(const core::JsonNode& config, std::string_view key) {
  const auto token = config.find(key);
  if (!token) return {};
  return token->is_object() ? token->at("content").string() : token->string();
}

/// chat_template: a text, or several as [{"name", "template"}], of which "default" is meant.
std::optional<std::string> template_text(const core::JsonNode& config) {
  const auto entry = config.find("chat_template");
  if (!entry) return std::nullopt;
  if (!entry->is_array()) return entry->string();
  std::string names;
  for (const core::JsonNode& one : entry->items()) {
    const std::string& name = one.at("name").string();
    if (name == "default") return one.at("template").string();
    names += (names.empty() ? "" : ", ") + name;
  }
  entry->fail("has no template named \"default\", but {}", names);
}

/// The text of the special token that a GGUF file's metadata names, or nothing.
std::string gguf_token(const core::GgufMetadata& metadata, std::string_view key) {
  const core::GgufValue* const tokens = metadata.find("tokenizer.ggml.tokens");
  if (tokens == nullptr || tokens->size() == 0) return {};
  const auto id = metadata.find_integer(key, 0, static_cast<std::int64_t>(tokens->size()) - 1);
  if (!id) return {};
  const std::string_view text = tokens->strings()[static_cast<std::size_t>(*id)];
  if (find_invalid_utf8(text)) tokens->fail("token {} is not UTF-8: {}", *id, core::quote(text));
  return std::string(text);
}

ChatSource read_gguf_source(const fs::path& model) {
  const core::GgufFile file(model);
  const auto text = file.metadata().find_string("tokenizer.chat_template");
  if (!text) {
    throw PromptError("{}: has no chat template (tokenizer.chat_template); give prompts as \"prompt\", without --chat",
                      model.string());
  }
  return {.text = std::string(*text),
          .where = model.string(),
          .bos_token = gguf_token(file.metadata(), "tokenizer.ggml.bos_token_id"),
          .eos_token = gguf_token(file.metadata(), "tokenizer.ggml.eos_token_id")};
}

jinja::Dict variables_of(const ChatSource& source, bool thinking, const std::vector<ChatMessage>& messages,
                         bool generate) {
  jinja::List conversation;
  for (const ChatMessage& message : messages) {
    conversation.emplace_back(jinja::Dict{{"role", message.role}, {"content", message.content}});
  }
  jinja::Dict all = {{"messages", std::move(conversation)},
                     {"add_generation_prompt", generate},
                     {"tools", jinja::Value::None{}},
                     {"documents", jinja::Value::None{}}};
  if (!source.bos_token.empty()) all.emplace_back("bos_token", source.bos_token);
  if (!source.eos_token.empty()) all.emplace_back("eos_token", source.eos_token);
  if (!thinking) all.emplace_back("enable_thinking", false);
  return all;
}

}  // namespace

ChatSource read_chat_source(const fs::path& model) {
  core::require_model_path(model);
  if (core::is_gguf_path(model)) return read_gguf_source(model);
  const fs::path config_path = model / "tokenizer_config.json";
  const fs::path jinja_path = model / "chat_template.jinja";
  const auto config = fs::exists(config_path) ? core::JsonDocument::read<PromptError>(config_path)
                                              : core::JsonDocument::empty<PromptError>(config_path.string());
  ChatSource source{.text = {},
                    .where = jinja_path.string(),
                    .bos_token = special_token(config.root(), "bos_token"),
                    .eos_token = special_token(config.root(), "eos_token")};
  if (fs::exists(jinja_path)) {
    source.text = core::read_text(jinja_path);
    return source;
  }
  std::optional<std::string> text = template_text(config.root());
  if (!text) {
    throw PromptError(
        "{}: has no chat template: no chat_template.jinja, and no chat_template in tokenizer_config.json; give prompts "
        "as \"prompt\", without --chat",
        model.string());
  }
  source.text = std::move(*text);
  source.where = config_path.string();
  return source;
}

ChatRenderer chat_renderer(const ChatSource& source, bool thinking) {
  if (!thinking && source.text.find("enable_thinking") == std::string::npos) {
    throw PromptError("{}: its chat template does not know of thinking; leave out --no-thinking", source.where);
  }
  const auto refuse = [where = source.where](const jinja::JinjaError& error) {
    const std::string_view message = error.what();
    if (message.find("refuses the conversation") != std::string_view::npos) {
      return PromptError("{}: chat template: {}", where, message);
    }
    return PromptError(
        "{}: chat template: {}; `python3 -m evictlab.chat MODEL PROMPTS.jsonl OUT.jsonl` renders any template", where,
        message);
  };
  std::shared_ptr<const jinja::Template> form;
  try {
    form = std::make_shared<const jinja::Template>(source.text);
  } catch (const jinja::JinjaError& error) {
    throw refuse(error);
  }
  return [form, refuse, source, thinking](const std::vector<ChatMessage>& messages, bool generate) {
    try {
      return form->render(variables_of(source, thinking, messages, generate));
    } catch (const jinja::JinjaError& error) {
      throw refuse(error);
    }
  };
}

}  // namespace evictlab::runtime
