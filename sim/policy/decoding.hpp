#pragma once

#include <Eigen/Core>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sim/policy/part.hpp"
#include "sim/policy/types.hpp"

// Eviction while generating, replayed over the recorded future queries. At step t the key of position n + t is
// appended, query t attends to everything held then (keys that are gone take no part, the rest renormalises), and then
// the rule evicts. The queries are those of the full cache: what an eviction would have changed in later ones is not
// seen.

namespace evictlab::sim {

/// Describes one kept set at the end of the prompt.
struct DecodeStart {
  const trace::LayerView& layer;
  PositionRanges ranges;
  Protection protection;
  Index first_head = 0;  // the query heads that read the set: [first_head, first_head + heads)
  Index heads = 1;
  std::span<const std::int32_t> stored;  // positions in storage order
  Index limit = 0;                       // positions it may hold, as its allocator recorded them
  /// [T, n + T]: what every future query pays every position, summed over the set's heads; for the oracle alone.
  const trace::RowMatrix* future_attention = nullptr;
};

/// Applies a rule to one kept set, step by step.
class DecodeState {
 public:
  virtual ~DecodeState() = default;
  /// After one query. `attention` [heads of the set, stored]: its softmax over what is stored, the new position, the
  /// last entry, included. Takes out of `stored` what is evicted; may reorder it.
  virtual void step(const Eigen::Ref<const Eigen::MatrixXd>& attention, std::vector<std::int32_t>& stored) = 0;
  /// The entry at `index` has gone out of the layer's sliding window and out of `stored`.
  virtual void forget(std::size_t index) = 0;
};

/// Decides what leaves a kept set while the answer is generated. Immutable.
class DecodeRule : public Part {
 public:
  /// What it reads beyond queries and keys.
  virtual trace::Fields fields() const { return {}; }
  /// Whether it reads what no rule can know.
  virtual bool needs_future() const { return false; }
  virtual std::unique_ptr<DecodeState> begin(const DecodeStart& start) const = 0;
};

/// Records what became of one layer's kept sets.
struct DecodedLayer {
  /// [sets][n + T]: the first future step whose query no longer finds the position; T if it is never evicted, 0 if it
  /// was not kept after the prompt. Position n + t is there from step t on.
  std::vector<std::vector<std::int32_t>> until;
  std::vector<std::vector<std::int32_t>> stored;   // [sets]: positions after the last step, in storage order
  std::vector<std::vector<std::int32_t>> evicted;  // [sets][T]: the position that left, -1: none or several
};

/// Steps through the T future queries. `kept` is the layer after the prompt, of sets per `granularity`. Reads
/// future.queries [H, T, d] and keys [G, n+T, d], and what the rule reads of the layer.
DecodedLayer decode_layer(const DecodeRule& rule, const trace::LayerView& layer, const trace::FutureView& future,
                          Granularity granularity, const PositionRanges& ranges, const Protection& protection,
                          const LayerRetention& kept);

}  // namespace evictlab::sim
