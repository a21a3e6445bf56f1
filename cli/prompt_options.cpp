#include "cli/prompt_options.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/text.hpp"

namespace evictlab::cli {
namespace {

runtime::FutureRule parse_future(const std::string& text) {
  using Kind = runtime::FutureRule::Kind;
  if (text == "auto") return {Kind::kAuto, 32};
  if (text == "answer") return {Kind::kAnswer, 0};
  if (text == "allowed") return {Kind::kAllowed, 32};
  const auto count = core::parse_integer(text);
  if (!count || *count < 1 || *count > 1'000'000) {
    throw core::InputError(
        "--future takes a number of tokens to generate (1 or more), \"answer\" or \"allowed\", got '{}'", text);
  }
  return {Kind::kGenerate, *count};
}

}  // namespace

void declare_prompts(Options& options) {
  options.value("model", "DIR", "",
                "Hugging Face model directory: config.json, *.safetensors, tokenizer.json or .model");
  declare_prompt_sources(options);
}

void declare_tokenizing(Options& options) {
  options.value(
      "future", "N|answer|allowed", "auto",
      "future queries: N generated tokens, the answer's (teacher-forced), or as many generated as the prompt's "
      "benchmark allows (32 elsewhere); auto: the answer where there is one, otherwise allowed");
  options.value("max-positions", "N", "0",
                "cut the middle out of longer prompts; 0 = only out of a benchmark's that the model cannot read");
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

bool is_tokenized(const std::vector<runtime::Prompt>& prompts) {
  return std::all_of(prompts.begin(), prompts.end(),
                     [](const runtime::Prompt& prompt) { return prompt.tokens.has_value() && prompt.answer.empty(); });
}

std::vector<runtime::TokenizedPrompt> tokenize_all(const std::vector<runtime::Prompt>& prompts,
                                                   const ModelTokenizer& tokenizer, const runtime::Transformer& model,
                                                   const runtime::RecordOptions& record,
                                                   const runtime::TokenizeOptions& tokenization) {
  const runtime::TextTokenizer* const known = is_tokenized(prompts) ? nullptr : &tokenizer.get();
  runtime::TokenizeOptions fitting = tokenization;
  fitting.model_positions = model.config().max_positions;
  std::vector<runtime::TokenizedPrompt> tokenized;
  for (const runtime::Prompt& prompt : prompts) {
    tokenized.push_back(runtime::tokenize(prompt, known, fitting));
    runtime::check_recordable(tokenized.back(), model.config(), record);
  }
  return tokenized;
}

}  // namespace evictlab::cli
