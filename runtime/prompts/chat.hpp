#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "runtime/prompts/prompts.hpp"

namespace evictlab::runtime {

/// Writes a conversation as a model was trained to read it; with `generate`, up to where the assistant's answer begins.
using ChatRenderer = std::function<std::string(const std::vector<ChatMessage>& messages, bool generate)>;

/// A model's chat template, and the tokens that it may write.
struct ChatSource {
  std::string text;
  std::string where;  // names it in messages
  std::string bos_token;
  std::string eos_token;
};

/// Of a model directory: chat_template.jinja, or chat_template in tokenizer_config.json (of several, the one named
/// "default"). Of a GGUF file: its metadata. Throws PromptError when there is none.
ChatSource read_chat_source(const std::filesystem::path& model);

/// The renderer of a template (runtime/prompts/jinja/template.hpp). Without `thinking`, the template is given
/// enable_thinking = false, which of a model that can think asks for its answer at once. It and the renderer throw
/// PromptError: not a template, outside the subset, a conversation that the template refuses, or one that does not know
/// of thinking.
ChatRenderer chat_renderer(const ChatSource& source, bool thinking);

/// Turns the prompt's messages, or its text as one user's, into the text that a model reads. Spans move with the words
/// of their message, and each followup becomes what follows the answer before it. Throws PromptError naming the prompt:
/// token ids, a conversation that does not end with the user's turn, a span whose words the template changes.
void apply_chat(const ChatRenderer& render, Prompt& prompt);

}  // namespace evictlab::runtime
