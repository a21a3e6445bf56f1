#include "runtime/live/live_eviction.hpp"

namespace evictlab::runtime {

void keep_layer(KvCache& cache, const sim::LayerRetention& kept, sim::Granularity granularity) {
  const bool own_slots = granularity == sim::Granularity::kQueryHead && cache.heads(kept.layer) != kept.sets();
  if (own_slots) {
    std::vector<std::span<const std::int32_t>> sets;
    for (Index set = 0; set < kept.sets(); ++set) sets.push_back(kept.kept(set));
    cache.split(kept.layer, sets);
    return;
  }
  const Index sharing = cache.heads(kept.layer) / kept.sets();  // heads that hold the same positions
  for (Index head = 0; head < cache.heads(kept.layer); ++head) {
    cache.keep(kept.layer, head, kept.kept(head / sharing));
  }
  cache.shrink(kept.layer);
}

void LiveEviction::observe(const trace::LayerView& layer, const sim::Importance& importance, KvCache& cache) {
  eviction_.observe(layer, importance, nullptr);
  held_.emplace_back();
  compact(cache);
}

void LiveEviction::finish(KvCache& cache) {
  eviction_.settle();
  compact(cache);
}

void LiveEviction::compact(KvCache& cache) {
  for (std::size_t layer = 0; layer < held_.size(); ++layer) compact(layer, cache);
}

void LiveEviction::compact(std::size_t layer, KvCache& cache) {
  const sim::HeldLayer& now = eviction_.held(layer);
  Held held;
  for (std::size_t set = 0; set < now.counts.size(); ++set)
    held.emplace_back(now.counts[set], now.repeated[set].size());
  if (held == held_[layer]) return;
  held_[layer] = std::move(held);
  keep_layer(cache, eviction_.layer(layer), eviction_.granularity());
}

sim::Retention LiveEviction::retention() const {
  sim::Retention retention{eviction_.granularity(), {}};
  for (std::size_t layer = 0; layer < held_.size(); ++layer) retention.layers.push_back(eviction_.layer(layer));
  return retention;
}

}  // namespace evictlab::runtime
