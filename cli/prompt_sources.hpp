#pragma once

#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "cli/options.hpp"
#include "runtime/prompts.hpp"

namespace evictlab::cli {

/// A model directory's tokenizer, read when it is first asked for: prompts of token ids need none.
class ModelTokenizer {
 public:
  explicit ModelTokenizer(std::filesystem::path directory) : directory_(std::move(directory)) {}

  const runtime::TextTokenizer& get() const;

 private:
  std::filesystem::path directory_;
  mutable std::unique_ptr<runtime::TextTokenizer> tokenizer_;
};

/// Options that say what a command that runs a model reads: prompts files, texts, needles in a haystack.
void declare_prompt_sources(Options& options);

/// The prompts the options ask for, ids all different. Throws core::InputError when there are none.
std::vector<runtime::Prompt> gather_prompts(const Options& options, const ModelTokenizer& tokenizer);

}  // namespace evictlab::cli
