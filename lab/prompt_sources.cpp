#include "lab/prompt_sources.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <string_view>

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/text.hpp"
#include "runtime/prompts/chat.hpp"
#include "runtime/prompts/prompt_template.hpp"

namespace evictlab::lab {
namespace {

std::optional<runtime::PromptTemplate> read_template(const PromptRequest& request) {
  if (!request.form) return std::nullopt;
  std::string text = core::read_text(*request.form);
  // Editors end a file with a line break, which no template means.
  if (text.ends_with('\n')) text.pop_back();
  runtime::PromptTemplate form(std::move(text), request.form->string());
  if (!form.asks()) {
    throw core::InputError("{}: a prompt template needs {{input}} or {{question}}: it asks for nothing",
                           request.form->string());
  }
  return form;
}

/// The needles in one of the haystacks; in one of several, ids also have the file's name.
std::vector<runtime::Prompt> hide_needles(const std::filesystem::path& haystack, const PromptRequest& request,
                                          const ModelTokenizer& tokenizer, const runtime::PromptTemplate* words) {
  runtime::NeedleGrid grid = request.needles;
  if (request.haystacks.size() > 1) grid.name += "-" + haystack.stem().string();
  return runtime::needle_prompts(core::read_text(haystack), haystack.filename().string(), grid, tokenizer.get(), words);
}

void require_different_ids(const std::vector<runtime::Prompt>& prompts) {
  std::map<std::string_view, std::string_view> sources;
  for (const runtime::Prompt& prompt : prompts) {
    if (const auto [other, fresh] = sources.emplace(prompt.id, prompt.source); !fresh) {
      throw core::InputError("the prompt id '{}' occurs twice, in {} and in {}; ids must differ", prompt.id,
                             other->second, prompt.source);
    }
  }
}

/// Leaves the prompts that are asked for by id, in their own order.
void keep_only(const std::vector<std::string>& ids, std::vector<runtime::Prompt>& prompts) {
  if (ids.empty()) return;
  const std::set<std::string_view> wanted(ids.begin(), ids.end());
  for (const std::string_view id : wanted) {
    if (std::ranges::find(prompts, id, &runtime::Prompt::id) != prompts.end()) continue;
    std::vector<std::string> known;
    for (const runtime::Prompt& prompt : prompts) known.push_back(prompt.id);
    throw core::InputError("--only {}: there is no prompt of this id{}", id, core::suggestion(id, known));
  }
  std::erase_if(prompts, [&](const runtime::Prompt& prompt) { return !wanted.contains(prompt.id); });
}

/// Writes conversations, and with --chat every prompt, as the model's template has them.
void apply_chat(const PromptRequest& request, const ModelTokenizer& tokenizer, std::vector<runtime::Prompt>& prompts) {
  const auto is_chat = [&](const runtime::Prompt& prompt) { return request.chat || !prompt.messages.empty(); };
  if (std::ranges::none_of(prompts, is_chat)) {
    if (request.thinking) return;
    throw core::InputError("--no-thinking is for conversations: lines with \"messages\", or --chat");
  }
  const runtime::ChatRenderer render =
      runtime::chat_renderer(runtime::read_chat_source(tokenizer.model()), request.thinking);
  for (runtime::Prompt& prompt : prompts) {
    if (is_chat(prompt)) runtime::apply_chat(render, prompt);
  }
}

}  // namespace

Inputs prompt_inputs(const PromptRequest& request) {
  return Inputs().add(request.files).add(request.texts).add(request.haystacks).add(request.form);
}

std::vector<runtime::Prompt> gather_prompts(const PromptRequest& request, const ModelTokenizer& tokenizer) {
  if (request.files.empty() && request.texts.empty() && request.haystacks.empty()) {
    throw core::InputError("give prompts with --prompts FILE.jsonl, --text FILE or --needle FILE");
  }
  const auto form = read_template(request);
  const runtime::PromptTemplate* const words = form ? &*form : nullptr;
  std::vector<runtime::Prompt> prompts;
  for (const std::filesystem::path& file : request.files) {
    std::vector<runtime::Prompt> read = runtime::read_prompts(file, words);
    if (request.limit > 0 && read.size() > request.limit) read.resize(request.limit);
    std::move(read.begin(), read.end(), std::back_inserter(prompts));
  }
  for (const std::filesystem::path& file : request.texts) prompts.push_back(runtime::read_text_prompt(file));
  for (const std::filesystem::path& file : request.haystacks) {
    std::vector<runtime::Prompt> hidden = hide_needles(file, request, tokenizer, words);
    std::move(hidden.begin(), hidden.end(), std::back_inserter(prompts));
  }
  require_different_ids(prompts);
  keep_only(request.only, prompts);
  if (form && std::ranges::none_of(prompts, &runtime::Prompt::from_template)) {
    throw core::InputError("{}: --template is for LongBench's lines and for --needle; none of the prompts takes it",
                           request.form->string());
  }
  apply_chat(request, tokenizer, prompts);
  return prompts;
}

bool is_tokenized(const std::vector<runtime::Prompt>& prompts) {
  return std::ranges::all_of(
      prompts, [](const runtime::Prompt& prompt) { return prompt.tokens.has_value() && prompt.answer.empty(); });
}

std::vector<runtime::TokenizedPrompt> tokenize_all(const std::vector<runtime::Prompt>& prompts,
                                                   const ModelTokenizer& tokenizer, const runtime::ModelConfig& model,
                                                   const runtime::RecordOptions& record,
                                                   const runtime::TokenizeOptions& tokenization) {
  const runtime::TextTokenizer* const known = is_tokenized(prompts) ? nullptr : &tokenizer.get();
  runtime::TokenizeOptions fitting = tokenization;
  fitting.model_positions = model.max_positions;
  std::vector<runtime::TokenizedPrompt> tokenized;
  for (const runtime::Prompt& prompt : prompts) {
    tokenized.push_back(runtime::tokenize(prompt, known, fitting));
    runtime::check_recordable(tokenized.back(), model, record);
  }
  return tokenized;
}

}  // namespace evictlab::lab
