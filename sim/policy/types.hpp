#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "trace/layer.hpp"

// The words policies are made of: who shares a kept set, what is kept in any case, what is ranked, what is left.

namespace evictlab::sim {

using trace::Index;

/// Reports a policy, a parameter or a budget that does not exist, is out of range, or does not fit the trace.
class PolicyError : public core::InputError {
 public:
  using core::InputError::InputError;
};

/// Reports parts that do not fit together, or a constraint that a policy cannot meet: a list of policies leaves such a
/// policy out with this reason.
class ImpossiblePolicy : public PolicyError {
 public:
  using PolicyError::PolicyError;
};

/// Says what a part of a policy reads of a prompt. Checked against a trace before anything runs.
struct Needs {
  trace::Fields fields;
  Index window_rows = 0;       // the last so many rows of window_attention
  bool future = false;         // reads what policies must not see: the oracle alone
  bool output_weight = false;  // W_O of the layer, which traces of the full tier and running models have
};

/// Who shares a kept set: each query head has its own, each kv head, or all heads of a layer.
enum class Granularity { kQueryHead, kKvHead, kLayer };
/// "query", "kv", "layer".
std::string_view granularity_name(Granularity granularity);
/// "query head", "kv head", "layer".
std::string_view granularity_words(Granularity granularity);

/// How many kept sets a layer has: H, G or 1.
Index set_count(Granularity granularity, const trace::LayerShape& shape);
/// How many positions a kept set may hold when the layer stores `slots` key-value pairs per kv head:
/// a set per query head is stored H/G times as often, so it gets slots * G/H. Rounded down, and before that
/// (methods that reckon in real numbers need the fraction).
Index set_capacity(Granularity granularity, const trace::LayerShape& shape, double slots);
double real_set_capacity(Granularity granularity, const trace::LayerShape& shape, double slots);
/// Which kept set a query head reads.
Index set_of(Granularity granularity, const trace::LayerShape& shape, Index query_head);
/// Stored slots per kv head when the layer's sets hold `positions` positions together.
double stored_slots(Granularity granularity, const trace::LayerShape& shape, Index positions);

/// The same in the forms in which engines store a layer.
struct StoredSlots {
  double exact = 0.0;   // every set as long as it is
  double padded = 0.0;  // every set as long as the layer's longest
  double paged = 0.0;   // every set in whole blocks of kPageSlots positions
};
inline constexpr Index kPageSlots = 16;
StoredSlots stored_forms(Granularity granularity, const trace::LayerShape& shape, std::span<const Index> set_counts);

/// Protects positions whatever their importance: the first `sinks` and the last `recent` of the prompt.
struct Protection {
  Index sinks = 0;
  Index recent = 0;
  friend bool operator==(const Protection&, const Protection&) = default;
  /// "sinks=4,recent=32".
  std::string text() const;
};

/// The prompt positions of a layer that eviction is about, in three adjoining ranges. Those before
/// first_visible are out of every future query's sight: never kept, never counted. With blocks of several
/// positions (as paged engines store them; block b holds b*size ... b*size+size-1) a block of which a part is
/// protected is protected whole.
struct PositionRanges {
  Index first_visible = 0;  // protected sinks:  [first_visible, candidates_begin)
  Index candidates_begin = 0;
  Index candidates_end = 0;  // protected recent: [candidates_end, prompt_length)
  Index prompt_length = 0;

  PositionRanges(const trace::LayerShape& shape, const Protection& protection, Index block = 1);
  Index visible() const { return prompt_length - first_visible; }
  Index candidates() const { return candidates_end - candidates_begin; }
  Index protected_count() const { return visible() - candidates(); }
};

/// Holds what a scorer thinks of one layer's positions; larger is kept first. Policies with a scorer in common share
/// the matrix.
struct Importance {
  /// [kept sets, n]. Finite at every candidate, NaN where nothing was scored. None without a scorer.
  std::shared_ptr<const trace::RowMatrix> scores;
  /// [kept sets, n]: a second opinion, of the policy's refiner; none without one.
  std::shared_ptr<const trace::RowMatrix> refinement;
};

/// Holds the candidates of every kept set of a layer in the order in which a selector prefers them. What a budget keeps
/// is a prefix: later cuts need no scores, and one ranking serves every budget.
struct Ranking {
  std::vector<std::vector<std::int32_t>> order;  // [kept sets][at most the ceiling]
};

/// Holds the kept positions of one layer, in storage order: protected sinks, then the selected by falling
/// importance, then the protected recent ones; a set that loses nothing stays in the order of time. A method
/// that stores a position more than once (DynamicKV's code can) lists it so.
struct LayerRetention {
  Index layer = 0;                      // of the model
  std::vector<std::int32_t> positions;  // of all sets, one after the other
  std::vector<std::int64_t> offsets;    // [sets + 1]
  std::vector<std::int32_t> budgets;    // [sets]: as allocated; a set may hold fewer

  Index sets() const { return static_cast<Index>(budgets.size()); }
  std::span<const std::int32_t> kept(Index set) const;
  /// Each position once.
  std::vector<std::int32_t> kept_ascending(Index set) const;
};

/// Holds what a policy leaves of one prompt: the outcome of an eviction.
struct Retention {
  Granularity granularity = Granularity::kKvHead;
  std::vector<LayerRetention> layers;  // in the order observed
};

}  // namespace evictlab::sim
