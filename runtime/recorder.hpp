#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/prompts/prompts.hpp"
#include "runtime/sampling.hpp"
#include "runtime/transformer.hpp"
#include "trace/io/writer.hpp"

// Design goals: one pass over a prompt yields everything a trace holds; what is recorded are the
// probabilities and states the model really used; memory beyond the model's own cache is one layer's
// rows, never n x n.
// Not goals: deciding which prompts to record, files and their safety (trace/io), evicting anything.

namespace evictlab::runtime {

/// A model cannot be recorded as asked.
class RecordError : public core::InputError {
 public:
  using core::InputError::InputError;
};

/// Draws of gradients where nothing else is asked for.
inline constexpr trace::Index kGradientDraws = 8;

struct RecordOptions {
  trace::Tier tier = trace::Tier::kSummary;
  trace::Index window = 64;  // the last prompt queries that are recorded; of a shorter prompt, all
  trace::ElementType dtype = trace::ElementType::kFloat16;  // of queries, keys and values
  std::vector<trace::Index> layers;                         // those to record, ascending; empty = all
  /// Tokens of a chunk that is read again for repeat_attention (runtime/repeat_pass.hpp); 0 = it is not recorded.
  trace::Index repeat_chunk = 0;
  trace::Index gradients = 0;  // full tier: draws of output_gradients; 0 = none are recorded
  SamplingOptions sampling;    // of generated futures; every prompt draws from a stream of its own
};

/// Throws RecordError naming the prompt when it cannot be recorded: empty, too short for the full tier's statistics,
/// longer than the model's positions, no future, token ids the model does not have.
void check_recordable(const TokenizedPrompt& prompt, const ModelConfig& model, const RecordOptions& options);

/// What a trace says of the prompt before it is recorded. A future that is to be generated has length 0.
trace::PromptInfo recorded_info(const TokenizedPrompt& prompt, const ModelConfig& model, const RecordOptions& options);
/// The tokens known before: the prompt's, and the future's unless it is to be generated.
std::vector<std::int32_t> recorded_tokens(const TokenizedPrompt& prompt);

/// Runs the model over one prompt and its future and writes every field of the tier for every layer asked
/// for, then finishes the prompt. `progress` is told how many positions have been read through all layers
/// (fractions while inside); it may throw to stop, which leaves nothing of this prompt behind.
void record_prompt(const Transformer& model, const TokenizedPrompt& prompt, const RecordOptions& options,
                   trace::TraceWriter& writer, const std::function<void(double)>& progress);

/// The tokens after the prompt: those given, and those generated after them, which are read into `cache`. `logits` are
/// those after the prompt. The query at a token that ends the text predicts nothing: a last token that does is left
/// out, unless there would be no future at all.
std::vector<std::int32_t> future_tokens(const Transformer& model, const TokenizedPrompt& prompt,
                                        const SamplingOptions& sampling, std::vector<float> logits, KvCache& cache);

/// What recording prompts of these lengths will take.
struct RecordEstimate {
  double trace_bytes = 0;   // on disk
  double memory_bytes = 0;  // cache of the longest prompt and the recorder's buffers, without the weights
};
RecordEstimate estimate_recording(const std::vector<TokenizedPrompt>& prompts, const ModelConfig& model,
                                  const RecordOptions& options);

}  // namespace evictlab::runtime
