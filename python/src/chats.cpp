#include "binding.hpp"
#include "runtime/prompts/chat.hpp"

namespace evictlab::python {
namespace {

using runtime::ChatMessage;
using runtime::ChatRenderer;
using runtime::Prompt;

/// [{"role", "content"}], as templates take them.
std::vector<ChatMessage> messages_of(const py::iterable& messages) {
  std::vector<ChatMessage> all;
  for (const py::handle& message : messages) {
    all.push_back({message["role"].cast<std::string>(), message["content"].cast<std::string>()});
  }
  return all;
}

py::list list_of(const std::vector<ChatMessage>& messages) {
  using namespace py::literals;
  py::list all;
  for (const ChatMessage& message : messages)
    all.append(py::dict("role"_a = message.role, "content"_a = message.content));
  return all;
}

/// The fields of a prompts file's line that a chat template changes: "prompt", "spans" and "followups" instead of
/// "messages" (or "prompt", one user's turn).
py::dict apply_chat(const py::dict& line, const py::function& render) {
  using namespace py::literals;
  const auto text = [](const py::handle& fields, const char* key) {
    return fields.contains(key) ? fields[key].cast<std::string>() : std::string();
  };
  Prompt prompt;
  prompt.id = py::str(line["id"]);
  prompt.source = "python";
  prompt.text = text(line, "prompt");
  prompt.answer = text(line, "answer");
  if (line.contains("messages")) prompt.messages = messages_of(line["messages"]);
  if (line.contains("spans")) {
    for (const py::handle& span : line["spans"]) {
      prompt.spans.push_back({text(span, "name"), span["start"].cast<std::int64_t>(), span["end"].cast<std::int64_t>(),
                              span.contains("message") ? span["message"].cast<std::size_t>() : 0});
    }
  }
  if (line.contains("followups")) {
    for (const py::handle& followup : line["followups"]) {
      prompt.followups.push_back({text(followup, "prompt"), text(followup, "answer"), text(followup, "stop")});
    }
  }
  runtime::apply_chat([&render](const std::vector<ChatMessage>& messages,
                                bool generate) { return render(list_of(messages), generate).cast<std::string>(); },
                      prompt);
  py::list spans;
  for (const Prompt::Span& span : prompt.spans) {
    spans.append(py::dict("name"_a = span.name, "start"_a = span.start, "end"_a = span.end));
  }
  py::list followups;
  for (const Prompt::Followup& followup : prompt.followups) {
    followups.append(py::dict("prompt"_a = followup.text, "answer"_a = followup.answer, "stop"_a = followup.stop));
  }
  return py::dict("prompt"_a = prompt.text, "spans"_a = spans, "followups"_a = followups);
}

}  // namespace

void bind_chats(py::module_& module) {
  module.def(
      "chat_source",
      [](const std::filesystem::path& model) {
        const runtime::ChatSource source = runtime::read_chat_source(model);
        return py::make_tuple(source.text, source.bos_token, source.eos_token);
      },
      py::arg("model"), "A model's chat template, its BOS token and its EOS token.");
  module.def("apply_chat", &apply_chat, py::arg("line"), py::arg("render"));
  module.def(
      "render_chat",
      [](const std::string& chat_template, const py::iterable& messages, bool generate, const std::string& bos_token,
         const std::string& eos_token, bool thinking) {
        return runtime::chat_renderer({chat_template, "template", bos_token, eos_token}, thinking)(
            messages_of(messages), generate);
      },
      py::arg("template"), py::arg("messages"), py::kw_only(), py::arg("generate") = true, py::arg("bos_token") = "",
      py::arg("eos_token") = "", py::arg("thinking") = true, "The conversation as the program writes it.");
}

}  // namespace evictlab::python
