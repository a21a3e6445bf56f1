#include "sim/policy/decoding.hpp"

#include <algorithm>
#include <stdexcept>

#include "core/fixed_blocking.hpp"

namespace evictlab::sim {
namespace {

using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Softmax of one query's logits over the stored positions.
template <typename Row>
void attend(const Rows& logits, Index t, const std::vector<std::int32_t>& stored, Row out) {
  for (std::size_t i = 0; i < stored.size(); ++i) out[static_cast<Index>(i)] = logits(t, stored[i]);
  out = (out.array() - out.maxCoeff()).exp();
  out /= out.sum();
}

// [T, n + T]: what the future queries pay with the full cache, summed over heads.
trace::RowMatrix future_attention(const trace::LayerShape& shape, const std::vector<Rows>& logits) {
  trace::RowMatrix sum = trace::RowMatrix::Zero(logits.front().rows(), logits.front().cols());
  for (const Rows& head : logits) {
    for (Index t = 0; t < head.rows(); ++t) {
      const Index position = shape.prompt_length + t;
      const Index first = shape.first_seen(position);
      const auto row = head.row(t).segment(first, position - first + 1);
      const Eigen::RowVectorXd weights = (row.array() - row.maxCoeff()).exp();
      sum.row(t).segment(first, weights.size()) += (weights / weights.sum()).cast<float>();
    }
  }
  return sum;
}

// Drops what the query of step t, which sees nothing before `first_seen`, no longer finds.
void drop_unseen(Index first_seen, std::int32_t t, std::vector<std::int32_t>& stored, std::vector<std::int32_t>& until,
                 DecodeState& state) {
  for (std::size_t i = stored.size(); i-- > 0;) {
    if (stored[i] >= first_seen) continue;
    until[static_cast<std::size_t>(stored[i])] = t;
    stored.erase(stored.begin() + static_cast<std::ptrdiff_t>(i));
    state.forget(i);
  }
}

// One kept set through all future queries; `logits` are those of its heads.
void decode_set(DecodeState& state, const trace::LayerShape& shape, const std::vector<Rows>& logits,
                std::span<const std::int32_t> kept, DecodedLayer& out) {
  const Index n = shape.prompt_length;
  const auto steps = static_cast<std::int32_t>(shape.future_length);
  std::vector<std::int32_t> stored(kept.begin(), kept.end());
  stored.reserve(kept.size() + static_cast<std::size_t>(steps));
  std::vector<std::int32_t> until(static_cast<std::size_t>(n + steps), 0);
  for (const std::int32_t position : stored) until[static_cast<std::size_t>(position)] = steps;
  std::fill(until.begin() + n, until.end(), steps);
  std::vector<std::int32_t> evicted(static_cast<std::size_t>(steps), -1);
  std::vector<std::int32_t> before;
  Eigen::MatrixXd attention(static_cast<Index>(logits.size()), n + steps);
  for (std::int32_t t = 0; t < steps; ++t) {
    stored.push_back(static_cast<std::int32_t>(n + t));
    drop_unseen(shape.first_seen(n + t), t, stored, until, state);
    const auto count = static_cast<Index>(stored.size());
    for (std::size_t head = 0; head < logits.size(); ++head) {
      attend(logits[head], t, stored, attention.row(static_cast<Index>(head)).head(count));
    }
    before = stored;
    state.step(attention.leftCols(count), stored);
    if (stored.size() == before.size()) continue;
    std::vector<bool> there(until.size(), false);
    for (const std::int32_t position : stored) there[static_cast<std::size_t>(position)] = true;
    int left = 0;
    for (const std::int32_t position : before) {
      if (there[static_cast<std::size_t>(position)]) continue;
      until[static_cast<std::size_t>(position)] = t + 1;
      evicted[static_cast<std::size_t>(t)] = ++left == 1 ? position : -1;
    }
  }
  out.until.push_back(std::move(until));
  out.stored.push_back(std::move(stored));
  out.evicted.push_back(std::move(evicted));
}

}  // namespace

DecodedLayer decode_layer(const DecodeRule& rule, const trace::LayerView& layer, const trace::FutureView& future,
                          Granularity granularity, const PositionRanges& ranges, const Protection& protection,
                          const LayerRetention& kept) {
  core::use_fixed_blocking();
  const trace::LayerShape& shape = layer.shape;
  const Index sets = set_count(granularity, shape);
  const Index heads = shape.query_heads / sets;
  if (kept.sets() != sets) throw std::invalid_argument("the layer holds another number of kept sets");
  DecodedLayer out;
  Rows keys;
  Index keys_of = -1;
  for (Index set = 0; set < sets; ++set) {
    std::vector<Rows> logits;
    for (Index head = set * heads; head < (set + 1) * heads; ++head) {
      if (shape.kv_head_of(head) != keys_of) {
        keys_of = shape.kv_head_of(head);
        keys = future.keys.copy_head(keys_of).cast<double>();
      }
      logits.emplace_back(shape.attention_scale * (future.queries.copy_head(head).cast<double>() * keys.transpose()));
    }
    const trace::RowMatrix attention = rule.needs_future() ? future_attention(shape, logits) : trace::RowMatrix();
    const auto stored = kept.kept(set);
    const auto state = rule.begin({.layer = layer,
                                   .ranges = ranges,
                                   .protection = protection,
                                   .first_head = set * heads,
                                   .heads = heads,
                                   .stored = stored,
                                   .limit = kept.budgets[static_cast<std::size_t>(set)],
                                   .future_attention = &attention});
    decode_set(*state, shape, logits, stored, out);
  }
  return out;
}

}  // namespace evictlab::sim
