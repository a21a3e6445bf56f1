#pragma once

#include <vector>

#include "cli/options.hpp"
#include "cli/prompt_sources.hpp"
#include "runtime/recorder.hpp"

// --model, --prompts and how prompts become tokens: declared and read alike by every command that runs a model.

namespace evictlab::cli {

/// --model and where prompts come from (cli/prompt_sources.hpp).
void declare_prompts(Options& options);

/// --future, --max-positions, --evict-at, --no-special-tokens
void declare_tokenizing(Options& options);
runtime::TokenizeOptions tokenize_options(const Options& options);

/// Whether all prompts are token ids, answers included.
bool is_tokenized(const std::vector<runtime::Prompt>& prompts);

/// All prompts in tokens, each checked: no work is begun when one of them cannot be recorded. A benchmark's prompts are
/// cut to what the model can read.
std::vector<runtime::TokenizedPrompt> tokenize_all(const std::vector<runtime::Prompt>& prompts,
                                                   const ModelTokenizer& tokenizer, const runtime::Transformer& model,
                                                   const runtime::RecordOptions& record,
                                                   const runtime::TokenizeOptions& tokenization);

}  // namespace evictlab::cli
