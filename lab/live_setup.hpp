#pragma once

#include <nlohmann/json.hpp>

#include <span>
#include <vector>

#include "lab/policy_selection.hpp"
#include "lab/validate.hpp"
#include "lab/validation_rows.hpp"
#include "runtime/recorder.hpp"

// What the use cases that run policies on a model begin with.

namespace evictlab::lab {

/// The policies named that a running model can follow; reports the others.
std::vector<sim::Policy> live_policies(const PolicyRequest& request, Observer& observer);

/// The same with the full cache, which all are compared with.
std::vector<sim::Policy> with_full(std::vector<sim::Policy> policies);

/// The full tier, with the options' window, data type and gradients: what policies and replay read.
runtime::RecordOptions live_record(const ValidateOptions& options);

/// How the prompt is repeated for policies that read what a repetition pays; 0 where none does.
trace::Index repeat_chunk_for(std::span<const sim::Policy> policies);

/// How the answers of `prompts` become text: numbers where nothing is text.
runtime::Detokenizer detokenizer(const std::vector<runtime::Prompt>& prompts, const ModelTokenizer& tokenizer);

/// Makes prompts that share text of one document, and says which: halves of them would know each other.
void merge_documents(std::vector<runtime::TokenizedPrompt>& prompts, Observer& observer);

/// The prompts as a trace would describe them, before any is read.
trace::MemoryTrace described_prompts(const trace::ModelInfo& info, const std::vector<runtime::TokenizedPrompt>& prompts,
                                     const runtime::Transformer& model, const runtime::RecordOptions& record);

/// Everything that the tables depend on.
nlohmann::ordered_json validation_settings(const ValidationPlan& plan,
                                           const std::vector<runtime::TokenizedPrompt>& prompts,
                                           const ValidateOptions& options);

}  // namespace evictlab::lab
