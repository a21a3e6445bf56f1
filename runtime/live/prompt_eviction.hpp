#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/gathering.hpp"
#include "runtime/live/live_eviction.hpp"

namespace evictlab::runtime {

/// What policies read of a running prompt, all together. Throws sim::PolicyError for a policy that reads the future,
/// which a running model does not know.
sim::Needs live_needs(std::span<const sim::Policy> policies);

/// The prompt as a running model shows it to policies that need so much: all layers, and no future yet.
trace::PromptInfo live_prompt(Index prompt_length, const sim::Needs& needs, Index layers);

/// A layer that was just read, as policies see it: what was gathered, and the keys and values of the cache.
trace::LayerView live_view(const trace::LayerData& gathered, const KvCache& cache);

/// Evicts from a running model's cache while it reads a prompt as one chunk: every layer attends to the whole prompt,
/// is shown to the policy, and is compacted before the next one is read. So the most that is held is one whole layer
/// and what is left of those before.
class PromptEviction {
 public:
  /// `cache` is the one that the pass fills; it and the rest must outlive this.
  PromptEviction(const Transformer& model, const trace::ModelInfo& info, const sim::Policy& policy, double slots,
                 Index prompt_length, KvCache& cache);

  /// To be given to Transformer::forward.
  ForwardObserver* observer() { return &gathering_; }
  /// After the pass.
  void finish() { eviction_.finish(cache_); }

  const LiveEviction& eviction() const { return eviction_; }
  /// Of each layer what is read when it goes on evicting: its shape and attention mass.
  const std::vector<trace::LayerData>& gathered() const { return gathered_; }

 private:
  void take(trace::LayerData&& layer);

  const Transformer& model_;
  const sim::Policy& policy_;
  KvCache& cache_;
  trace::PromptInfo prompt_;
  LiveEviction eviction_;
  std::vector<trace::LayerData> gathered_;
  PromptGathering gathering_;
};

}  // namespace evictlab::runtime
