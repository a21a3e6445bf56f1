#pragma once

#include <optional>
#include <vector>

#include "cli/options.hpp"
#include "runtime/recorder.hpp"

// --model, --prompts and how prompts become tokens: declared and read alike by every command that runs a model.

namespace evictlab::cli {

/// --model, --prompts, --text, --limit
void declare_prompts(Options& options);
/// All prompts of the files given, in order. Throws core::InputError when there are none, or two of the same id.
std::vector<runtime::Prompt> gather_prompts(const Options& options);

/// --future, --max-positions, --evict-at, --no-special-tokens
void declare_tokenizing(Options& options);
runtime::TokenizeOptions tokenize_options(const Options& options);

/// The model's tokenizer; none where all prompts are token ids.
std::optional<runtime::Tokenizer> tokenizer_for(const std::vector<runtime::Prompt>& prompts,
                                                const runtime::Transformer& model);
/// All prompts in tokens, each checked: no work is begun when one of them cannot be recorded.
std::vector<runtime::TokenizedPrompt> tokenize_all(const std::vector<runtime::Prompt>& prompts,
                                                   const std::optional<runtime::Tokenizer>& tokenizer,
                                                   const runtime::Transformer& model,
                                                   const runtime::RecordOptions& record,
                                                   const runtime::TokenizeOptions& tokenization);

}  // namespace evictlab::cli
