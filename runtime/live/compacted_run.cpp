#include "runtime/live/compacted_run.hpp"

#include <algorithm>
#include <chrono>

#include "core/interrupt.hpp"
#include "runtime/sampling.hpp"

namespace evictlab::runtime {
namespace {

// Room is made for so many tokens at a time.
constexpr Index kRoom = 32;

/// All slots of one layer, as the full cache holds them, become the run's.
void copy_layer(const KvCache& from, Index layer, KvCache& to) {
  for (Index head = 0; head < from.kv_heads(); ++head) {
    const RowMatrixView keys = from.keys(layer, head);
    KvCache::NewSlots slots = to.append(layer, head, keys.rows());
    slots.keys = keys;
    slots.values = from.values(layer, head);
  }
}

sim::Importance seen_importance(const sim::Policy& policy, const Reference::Layer& layer) {
  trace::LayerView view = layer.view;
  if (policy.needs().future) view.future = &layer.future;
  return sim::score_layer(policy, view);
}

}  // namespace

Continuation::Continuation(const Transformer& model, const sim::Policy& policy,
                           std::span<const trace::LayerData> gathered, const sim::Retention& kept, const KvCache& cache)
    : model_(model), cache_(cache) {
  if (policy.decoding) eviction_ = std::make_unique<DecodeEviction>(policy, gathered, kept, cache_);
}

trace::RowMatrix Continuation::read(std::span<const std::int32_t> tokens) {
  const auto count = static_cast<Index>(tokens.size());
  if (room_ < count) {
    room_ = std::max(count, kRoom);
    cache_.make_room(room_);
  }
  room_ -= count;
  if (!eviction_) return model_.forward_all(tokens, cache_);
  trace::RowMatrix logits(count, model_.config().vocab_size);
  for (Index i = 0; i < count; ++i) {
    logits.row(i) = model_.forward_all(tokens.subspan(static_cast<std::size_t>(i), 1), cache_, eviction_.get());
  }
  return logits;
}

Written Continuation::write(std::int32_t first, std::size_t most, const HasEnded& has_ended) {
  const std::vector<std::int32_t>& ends = model_.config().eos_token_ids;
  Written written;
  std::int32_t next = first;
  while (std::ranges::find(ends, next) == ends.end()) {
    written.tokens.push_back(next);
    if (written.tokens.size() == most || has_ended(written.tokens)) break;
    core::throw_if_interrupted();
    const auto start = std::chrono::steady_clock::now();
    const trace::RowMatrix logits = read({&next, 1});
    written.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++written.steps;
    next = greedy_token({logits.data(), static_cast<std::size_t>(logits.size())});
  }
  return written;
}

CompactedRun::CompactedRun(const Transformer& model, const Reference& reference, const sim::Policy& policy,
                           double slots, std::span<const sim::Importance> importance)
    : model_(model),
      reference_(reference),
      policy_(policy),
      eviction_(policy, model.config().layers, slots),
      cache_(model.make_cache(reference.prompt_length())) {
  for (Index layer = 0; layer < model.config().layers; ++layer) {
    core::throw_if_interrupted();
    copy_layer(reference.cache, layer, cache_);
    Reference::Layer seen = reference.layer(layer);
    if (policy.needs().future) seen.view.future = &seen.future;
    eviction_.observe(seen.view, importance[static_cast<std::size_t>(layer)], cache_);
  }
  cache_.advance(reference.prompt_length());
  eviction_.finish(cache_);
  retention_ = eviction_.retention();
}

bool CompactedRun::nothing_evicted() const {
  for (Index layer = 0; layer < cache_.layers(); ++layer) {
    for (Index head = 0; head < cache_.heads(layer); ++head) {
      if (cache_.length(layer, head) < reference_.prompt_length()) return false;
    }
  }
  return true;
}

std::vector<sim::Importance> importance_of(const sim::Policy& policy, const Reference& reference) {
  std::vector<sim::Importance> importance;
  for (Index layer = 0; layer < static_cast<Index>(reference.recorded.layers.size()); ++layer) {
    importance.push_back(seen_importance(policy, reference.layer(layer)));
  }
  return importance;
}

}  // namespace evictlab::runtime
