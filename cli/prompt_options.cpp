#include "cli/prompt_options.hpp"

#include <algorithm>
#include <iterator>
#include <set>

#include "core/error.hpp"
#include "core/text.hpp"

namespace evictlab::cli {
namespace {

runtime::FutureRule parse_future(const std::string& text) {
  using Kind = runtime::FutureRule::Kind;
  if (text == "auto") return {Kind::kAuto, 32};
  if (text == "answer") return {Kind::kAnswer, 0};
  const auto count = core::parse_integer(text);
  if (!count || *count < 1 || *count > 1'000'000) {
    throw core::InputError("--future takes a number of tokens to generate (1 or more) or \"answer\", got '{}'", text);
  }
  return {Kind::kGenerate, *count};
}

bool is_tokenized(const std::vector<runtime::Prompt>& prompts) {
  return std::all_of(prompts.begin(), prompts.end(),
                     [](const runtime::Prompt& prompt) { return prompt.tokens.has_value() && prompt.answer.empty(); });
}

}  // namespace

void declare_prompts(Options& options) {
  options.value("model", "DIR", "", "Hugging Face model directory: config.json, *.safetensors, tokenizer.json");
  options.values("prompts", "FILE.jsonl", "prompts, one JSON object a line: id, task, prompt or tokens, answer, spans");
  options.values("text", "FILE", "a text file as one prompt");
  options.value("limit", "N", "0", "only the first N prompts of each prompts file; 0 = all");
}

std::vector<runtime::Prompt> gather_prompts(const Options& options) {
  if (!options.has("prompts") && !options.has("text")) {
    throw core::InputError("give prompts with --prompts FILE.jsonl or --text FILE");
  }
  const auto limit = static_cast<std::size_t>(options.integer("limit", 0));
  std::vector<runtime::Prompt> prompts;
  for (const std::string& file : options.list("prompts")) {
    std::vector<runtime::Prompt> read = runtime::read_prompts(file);
    if (limit > 0 && read.size() > limit) read.resize(limit);
    std::move(read.begin(), read.end(), std::back_inserter(prompts));
  }
  for (const std::string& file : options.list("text")) prompts.push_back(runtime::read_text_prompt(file));
  std::set<std::string> ids;
  for (const runtime::Prompt& prompt : prompts) {
    if (!ids.insert(prompt.id).second) {
      throw core::InputError("the prompt id '{}' is in more than one file; ids must differ", prompt.id);
    }
  }
  return prompts;
}

void declare_tokenizing(Options& options) {
  options.value("future", "N|answer", "auto",
                "future queries: N generated tokens, or the answer's, teacher-forced; auto: the answer where there is "
                "one, otherwise 32 generated");
  options.value("max-positions", "N", "0", "cut the middle out of longer prompts; 0 = never");
  options.value("evict-at", "prompt|context", "prompt",
                "where eviction happens: after the prompt, or after its \"context\" span (question-agnostic)");
  options.flag("no-special-tokens", "do not add the tokens the tokenizer puts around a prompt (BOS)");
}

runtime::TokenizeOptions tokenize_options(const Options& options) {
  runtime::TokenizeOptions tokenization;
  tokenization.future = parse_future(options.text("future"));
  tokenization.max_positions = options.integer("max-positions", 0);
  tokenization.evict_at = options.choice("evict-at", {"prompt", "context"}) == "context" ? runtime::EvictAt::kContext
                                                                                         : runtime::EvictAt::kPrompt;
  tokenization.add_special_tokens = !options.has("no-special-tokens");
  return tokenization;
}

std::optional<runtime::Tokenizer> tokenizer_for(const std::vector<runtime::Prompt>& prompts,
                                                const runtime::Transformer& model) {
  if (is_tokenized(prompts)) return std::nullopt;
  return runtime::Tokenizer::load(model.directory() / "tokenizer.json");
}

std::vector<runtime::TokenizedPrompt> tokenize_all(const std::vector<runtime::Prompt>& prompts,
                                                   const std::optional<runtime::Tokenizer>& tokenizer,
                                                   const runtime::Transformer& model,
                                                   const runtime::RecordOptions& record,
                                                   const runtime::TokenizeOptions& tokenization) {
  std::vector<runtime::TokenizedPrompt> tokenized;
  for (const runtime::Prompt& prompt : prompts) {
    tokenized.push_back(runtime::tokenize(prompt, tokenizer ? &*tokenizer : nullptr, tokenization));
    runtime::check_recordable(tokenized.back(), model.config(), record);
  }
  return tokenized;
}

}  // namespace evictlab::cli
