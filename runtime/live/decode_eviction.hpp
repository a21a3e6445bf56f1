#pragma once

#include <memory>
#include <span>
#include <vector>

#include "runtime/live/live_eviction.hpp"
#include "runtime/observer.hpp"

namespace evictlab::runtime {

/// Goes on evicting while a model reads token by token after its prompt: watches each pass, and after each layer's
/// attention the cache lets go of what the policy's rule takes out. The token's own attention still saw it.
class DecodeEviction : public ForwardObserver {
 public:
  /// The policy must have a rule. `gathered` and `kept` are of every layer, in order; `cache` holds what is kept. The
  /// policy and the cache must outlive this.
  DecodeEviction(const sim::Policy& policy, std::span<const trace::LayerData> gathered, const sim::Retention& kept,
                 KvCache& cache);

  /// Throws std::logic_error for more than one token in a pass.
  void on_layer_states(Index layer, const LayerStates& states) override;
  void on_attention(Index layer, Index query_head, Index first_position, const RowMatrixView& probabilities) override;
  void on_layer_end(Index layer) override;

 private:
  KvCache& cache_;
  Index sets_ = 0;
  std::vector<std::vector<std::unique_ptr<sim::DecodeState>>> states_;  // [layers][sets]
  Eigen::MatrixXd attention_;  // [H, most slots of any head]: of the layer the pass is in, ragged
};

}  // namespace evictlab::runtime
