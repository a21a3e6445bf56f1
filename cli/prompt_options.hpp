#pragma once

#include "cli/options.hpp"
#include "lab/prompt_sources.hpp"

// --model, --prompts and how prompts become tokens: declared and read alike by every command that runs a model.

namespace evictlab::cli {

/// --model; --prompts, --text, --needle and what belongs to them
void declare_prompts(Options& options);
/// The ids that --only names; none where it is not given.
std::vector<std::string> only_ids(const Options& options);
lab::PromptRequest prompt_request(const Options& options);

/// --future, --max-positions, --evict-at, --no-special-tokens
void declare_tokenizing(Options& options);
runtime::TokenizeOptions tokenize_options(const Options& options);

}  // namespace evictlab::cli
