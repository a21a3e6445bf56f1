#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/prompts/prompts.hpp"
#include "runtime/recorder.hpp"
#include "sim/policy/policy.hpp"

namespace evictlab::runtime {

/// Tokens that are read after the prompt: some given, then an answer.
struct Turn {
  std::vector<std::int32_t> tokens;        // given and answer, one after the other
  Index given = 0;                         // so many are given
  std::string text = {};                   // of the answer; empty where tokens are all there is
  std::string stop = {};                   // the text that must follow it; empty: none
  std::optional<std::int32_t> stop_token;  // its first token

  std::span<const std::int32_t> answer() const { return std::span(tokens).subspan(static_cast<std::size_t>(given)); }
  /// The rows of its logits (row t is read after token t and predicts token t + 1) that say what follows the prompt
  /// according to the cache: from the last given token on; without any, from the answer's first, which the prompt's own
  /// last query predicted.
  Index first_row() const { return given > 0 ? given - 1 : 0; }
};

/// A prompt as the full cache reads it, once: what eviction is compared with, and all that policies and replay read.
struct Reference {
  trace::MemoryTrace::Prompt recorded;   // as the full tier records it
  KvCache cache;                         // the prompt's, whole
  std::vector<float> first_logits;       // after the prompt: they predict the first token of all
  std::vector<Turn> turns;               // the future, then follow-up questions
  std::vector<trace::RowMatrix> logits;  // of each turn [its tokens, vocab]
  /// W_O of each layer, [L] of [H*d, hidden], for policies that read it; whoever shows the layers sets it.
  std::span<const trace::RowMatrix> output_weights = {};

  Index prompt_length() const { return recorded.info.prompt_length; }
  /// A layer as policies see it, with the future, which only the oracle may read.
  struct Layer {
    trace::FutureView future;
    trace::LayerView view;
  };
  Layer layer(Index index) const;
};

/// Reads the prompt, its future and its follow-ups. `options` as for recording; `progress` receives which share of the
/// prompt is done. Throws as record_prompt does.
Reference read_reference(const Transformer& model, const trace::ModelInfo& info, const TokenizedPrompt& prompt,
                         const RecordOptions& options, const std::function<void(double)>& progress);

}  // namespace evictlab::runtime
