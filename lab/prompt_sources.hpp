#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "lab/inputs.hpp"
#include "lab/model.hpp"
#include "runtime/prompts/needle.hpp"
#include "runtime/prompts/prompts.hpp"
#include "runtime/recorder.hpp"

// From the prompts that a user names to tokens that a model can read.

namespace evictlab::lab {

/// Where prompts come from.
struct PromptRequest {
  std::vector<std::filesystem::path> files = {};      // one JSON object a line
  std::vector<std::filesystem::path> texts = {};      // each a prompt as it is
  std::vector<std::filesystem::path> haystacks = {};  // texts to hide needles in
  runtime::NeedleGrid needles = {};                   // lengths and depths of those
  std::optional<std::filesystem::path> form = {};     // a template, instead of a benchmark's own prompts
  std::size_t limit = 0;                              // of the prompts of each file, the first so many; 0 = all
  std::vector<std::string> only = {};                 // ids of the prompts that are taken; empty: all
  bool chat = false;                                  // prompts that are no conversation become one user's turn
  bool thinking = true;                               // a model that can think may do so before it answers
};

/// The files that hold the prompts.
Inputs prompt_inputs(const PromptRequest& request);

/// The prompts, ids all different, conversations written by the model's chat template. Throws core::InputError when
/// there are none.
std::vector<runtime::Prompt> gather_prompts(const PromptRequest& request, const ModelTokenizer& tokenizer);

/// Whether all prompts are token ids, answers included.
bool is_tokenized(const std::vector<runtime::Prompt>& prompts);

/// All prompts in tokens, each checked: no work is begun when one of them cannot be recorded. A benchmark's prompts are
/// cut to what the model can read.
std::vector<runtime::TokenizedPrompt> tokenize_all(const std::vector<runtime::Prompt>& prompts,
                                                   const ModelTokenizer& tokenizer, const runtime::ModelConfig& model,
                                                   const runtime::RecordOptions& record,
                                                   const runtime::TokenizeOptions& tokenization);

}  // namespace evictlab::lab
