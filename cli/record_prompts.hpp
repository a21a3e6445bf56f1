#pragma once

#include <functional>
#include <vector>

#include "cli/options.hpp"
#include "runtime/prompts.hpp"

namespace evictlab::cli {

/// Options that say what `record` reads: prompts files, texts, needles in a haystack.
void declare_prompt_sources(Options& options);

/// Loads the model's tokenizer at the first call.
using TokenizerLoader = std::function<const runtime::TextTokenizer&()>;

/// The prompts the options ask for, ids all different. The tokenizer is needed for needles alone.
std::vector<runtime::Prompt> gather_prompts(const Options& options, const TokenizerLoader& tokenizer);

}  // namespace evictlab::cli
