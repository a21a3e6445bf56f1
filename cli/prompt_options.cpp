#include "cli/prompt_options.hpp"

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
  constexpr std::int64_t kMost = 1'000'000;
  if (!count || *count < 1 || *count > kMost) {
    throw core::InputError(
        "--future takes a number of tokens to generate (1 to {}), \"answer\" or \"allowed\", got '{}'", kMost, text);
  }
  return {Kind::kGenerate, *count};
}

runtime::NeedleGrid needle_grid(const Options& options) {
  runtime::NeedleGrid grid;
  if (options.has("seed")) grid.seed = static_cast<std::uint64_t>(options.integer("seed", 0));
  for (const std::string& item : core::split(options.text("needle-lengths"), ',')) {
    const auto length = core::parse_integer(core::trim(item));
    if (!length || *length < 1 || *length > 1 << 30) {
      throw core::InputError("--needle-lengths takes numbers of positions such as 512,1024, got '{}'", item);
    }
    grid.lengths.push_back(*length);
  }
  for (const std::string& item : core::split(options.text("needle-depths"), ',')) {
    const auto depth = core::parse_number(core::trim(item));
    if (!depth || !(*depth >= 0 && *depth <= 1)) {
      throw core::InputError("--needle-depths takes numbers from 0 to 1 such as 0,0.5,1, got '{}'", item);
    }
    grid.depths.push_back(*depth);
  }
  return grid;
}

}  // namespace

std::vector<std::string> only_ids(const Options& options) {
  std::vector<std::string> ids;
  if (!options.has("only")) return ids;
  for (const std::string& item : core::split(options.text("only"), ',')) ids.emplace_back(core::trim(item));
  return ids;
}

void declare_prompts(Options& options) {
  options.value("model", "MODEL", "",
                "a .gguf file, or a Hugging Face directory: config.json, *.safetensors, tokenizer.json or .model");
  options.values(
      "prompts", "FILE.jsonl",
      "prompts, one JSON object a line: id, task, prompt, tokens or messages, answer, spans; or LongBench's or RULER's "
      "lines as they are");
  options.values("text", "FILE", "a text file as one prompt");
  options.value("template", "FILE", "",
                "text with {context} and {input} or {question}, instead of a benchmark's own prompts");
  options.values("needle", "FILE", "a text to hide a sentence with a number in and to ask for it");
  options.value("needle-lengths", "LIST", "512,1024,2048", "positions of the prompts with a needle");
  options.value("needle-depths", "LIST", "0,0.25,0.5,0.75,1", "where the needle is: 0 = first, 1 = last");
  options.flag("chat",
               "write every prompt as one user's turn, by the model's chat template, as lines with messages are");
  options.flag("no-thinking", "tell the chat template that the model should answer without thinking first");
  options.value("limit", "N", "0", "only the first N prompts of each prompts file; 0 = all");
  options.value("only", "ID,ID", "", "only the prompts of these ids");
}

lab::PromptRequest prompt_request(const Options& options) {
  if (!options.has("needle")) {
    for (const char* name : {"needle-lengths", "needle-depths"}) options.refuse(name, "needs --needle FILE");
  }
  if (!options.has("prompts")) options.refuse("limit", "needs --prompts FILE.jsonl");
  return {.files = options.paths("prompts"),
          .texts = options.paths("text"),
          .haystacks = options.paths("needle"),
          .needles = options.has("needle") ? needle_grid(options) : runtime::NeedleGrid(),
          .form = options.optional_path("template"),
          .limit = static_cast<std::size_t>(options.integer("limit", 0)),
          .only = only_ids(options),
          .chat = options.has("chat"),
          .thinking = !options.has("no-thinking")};
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

}  // namespace evictlab::cli
