#include "runtime/live/decode_eviction.hpp"

#include <algorithm>
#include <stdexcept>

namespace evictlab::runtime {

DecodeEviction::DecodeEviction(const sim::Policy& policy, std::span<const trace::LayerData> gathered,
                               const sim::Retention& kept, KvCache& cache)
    : cache_(cache) {
  for (std::size_t layer = 0; layer < gathered.size(); ++layer) {
    const trace::LayerShape& shape = gathered[layer].shape;
    const trace::LayerView view = trace::layer_view(gathered[layer]);
    sets_ = sim::set_count(policy.granularity, shape);
    const Index heads = shape.query_heads / sets_;
    auto& own = states_.emplace_back();
    for (Index set = 0; set < sets_; ++set) {
      own.push_back(policy.decoding->begin({.layer = view,
                                            .ranges = policy.ranges(shape),
                                            .protection = policy.protection,
                                            .first_head = set * heads,
                                            .heads = heads,
                                            .stored = kept.layers[layer].kept(set),
                                            .limit = kept.layers[layer].budgets[static_cast<std::size_t>(set)]}));
    }
    attention_.resize(shape.query_heads, 0);
  }
}

void DecodeEviction::on_layer_states(Index layer, const LayerStates& states) {
  if (states.queries.rows() != 1) throw std::logic_error("eviction while decoding goes token by token");
  Index most = 0;
  for (Index head = 0; head < cache_.heads(layer); ++head) most = std::max(most, cache_.length(layer, head));
  attention_.resize(attention_.rows(), most);
}

void DecodeEviction::on_attention(Index /*layer*/, Index query_head, Index /*first_position*/,
                                  const RowMatrixView& probabilities) {
  attention_.row(query_head).head(probabilities.cols()) = probabilities.row(0).cast<double>();
}

void DecodeEviction::on_layer_end(Index layer) {
  const Index sharing = cache_.heads(layer) / sets_;  // heads that hold the same slots
  const Index heads = attention_.rows() / sets_;
  for (Index set = 0; set < sets_; ++set) {
    const auto before = cache_.positions(layer, set * sharing);
    std::vector<std::int32_t> stored(before.begin(), before.end());
    const auto rows = attention_.block(set * heads, 0, heads, static_cast<Index>(stored.size()));
    states_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(set)]->step(rows, stored);
    if (std::ranges::equal(before, stored)) continue;
    for (Index head = set * sharing; head < (set + 1) * sharing; ++head) cache_.keep(layer, head, stored);
  }
}

}  // namespace evictlab::runtime
