#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "runtime/live/decode_eviction.hpp"
#include "runtime/live/live_eviction.hpp"
#include "runtime/live/reference.hpp"

namespace evictlab::runtime {

/// Decides whether text that was generated so far has come to its end.
using HasEnded = std::function<bool(std::span<const std::int32_t> tokens)>;

/// What a model wrote.
struct Written {
  std::vector<std::int32_t> tokens;  // one that ends the text is left out
  Index steps = 0;                   // tokens read for it, one by one
  double seconds = 0.0;              // for these
};

/// Reading on after a prompt, on a copy of its cache, with what the policy evicts while decoding.
class Continuation {
 public:
  /// All must outlive it.
  Continuation(const Transformer& model, const sim::Policy& policy, std::span<const trace::LayerData> gathered,
               const sim::Retention& kept, const KvCache& cache);

  /// Reads tokens; logits after each [tokens, vocab].
  trace::RowMatrix read(std::span<const std::int32_t> tokens);
  /// Writes greedily, beginning with `first`, up to `most` tokens.
  Written write(std::int32_t first, std::size_t most, const HasEnded& has_ended);

  const KvCache& cache() const { return cache_; }

 private:
  const Transformer& model_;
  KvCache cache_;
  Index room_ = 0;  // tokens that can be read before more is made
  std::unique_ptr<DecodeEviction> eviction_;
};

/// A prompt's cache under one policy at one budget. The layers are those of the full cache's pass, in which every layer
/// attends to everything whatever the policy: each is put whole into this run's own cache and compacted there before
/// the next one comes, as if the model had read the prompt for this run alone.
class CompactedRun {
 public:
  /// `importance` [layers] of the policy. All must outlive it. Throws as sim::Eviction does.
  CompactedRun(const Transformer& model, const Reference& reference, const sim::Policy& policy, double slots,
               std::span<const sim::Importance> importance);

  /// Of the prompt: what is held, allocated, and was allocated at most.
  const KvCache& cache() const { return cache_; }
  const sim::Retention& retention() const { return retention_; }
  double held_slots() const { return eviction_.eviction().held_slots(); }
  bool nothing_evicted() const;

  Continuation continued() const { return {model_, policy_, reference_.recorded.layers, retention_, cache_}; }

 private:
  const Transformer& model_;
  const Reference& reference_;
  const sim::Policy& policy_;
  LiveEviction eviction_;
  KvCache cache_;
  sim::Retention retention_;
};

/// The importance of a policy in every layer of a prompt.
std::vector<sim::Importance> importance_of(const sim::Policy& policy, const Reference& reference);

}  // namespace evictlab::runtime
