#include "sim/judge.hpp"

#include <algorithm>
#include <cmath>

#include "core/select.hpp"
#include "sim/error.hpp"
#include "sim/future.hpp"

namespace evictlab::sim {

FutureRanking::FutureRanking(const trace::LayerShape& shape, const trace::TensorView& future_mass,
                             Granularity granularity)
    : shares(future_importance(shape, future_mass, granularity)) {
  for (Index set = 0; set < shares.rows(); ++set) {
    order.push_back(core::argsort_descending({&shares(set, 0), static_cast<std::size_t>(shares.cols())}));
  }
}

OracleCurve::OracleCurve(std::shared_ptr<const FutureRanking> ranking, Index query_heads, const PositionRanges& ranges)
    : ranking_(std::move(ranking)), query_heads_(query_heads), ranges_(ranges) {
  for (Index set = 0; set < ranking_->shares.rows(); ++set) {
    const auto row = ranking_->shares.row(set);
    double mass = 0.0;
    for (Index j = ranges_.first_visible; j < ranges_.candidates_begin; ++j) mass += row[j];
    for (Index j = ranges_.candidates_end; j < ranges_.prompt_length; ++j) mass += row[j];
    std::vector<double> best = {mass};
    best.reserve(static_cast<std::size_t>(ranges_.candidates()) + 1);
    for (const std::uint32_t index : ranking_->order[static_cast<std::size_t>(set)]) {
      const auto position = static_cast<Index>(index);
      if (position < ranges_.candidates_begin || position >= ranges_.candidates_end) continue;
      mass += row[position];
      best.push_back(mass);
    }
    best_.push_back(std::move(best));
  }
}

double OracleCurve::regret(const LayerRetention& kept) const {
  double missed = 0.0;
  for (Index set = 0; set < kept.sets(); ++set) {
    const auto positions = kept.kept_ascending(set);
    const Index chosen = static_cast<Index>(positions.size()) - ranges_.protected_count();
    if (chosen == ranges_.candidates()) continue;  // nothing was evicted
    double mass = 0.0;
    for (const std::int32_t position : positions) mass += ranking_->shares(set, position);
    // Sums of the same numbers in another order differ by rounding.
    missed += std::max(0.0, best_[static_cast<std::size_t>(set)].at(static_cast<std::size_t>(chosen)) - mass);
  }
  return missed / static_cast<double>(query_heads_);
}

LayerJudge::LayerJudge(const trace::LayerData& data, std::optional<trace::RowMatrix> output_weight)
    : data_(data),
      future_(trace::future_view(data)),
      output_weight_(std::move(output_weight)),
      summary_(data.shape, future_) {
  for (const trace::TensorView& view : {future_.mass, future_.output_norms}) {
    for (Index head = 0; head < view.heads(); ++head) {
      const auto row = view.float_row(head, 0);
      if (std::ranges::all_of(row, [](float value) { return std::isfinite(value) && value >= 0.0F; })) continue;
      throw PolicyError(
          "layer {}: what the future attends to is recorded as numbers that are negative or not finite; "
          "check the trace with evictlab verify",
          data.shape.layer);
    }
  }
  if (output_weight_) {
    reference_ = std::make_unique<const analysis::OutputReference>(data.shape, future_, *output_weight_);
  }
}

Measures LayerJudge::judge(Granularity granularity, const LayerRetention& kept, const OracleCurve& oracle) const {
  std::vector<std::vector<std::int32_t>> sets;
  for (Index set = 0; set < kept.sets(); ++set) sets.push_back(kept.kept_ascending(set));
  analysis::KeptSets by_head;
  for (Index head = 0; head < data_.shape.query_heads; ++head) {
    by_head.emplace_back(sets[static_cast<std::size_t>(set_of(granularity, data_.shape, head))]);
  }
  Measures measures;
  measures.summary = summary_.losses(by_head);
  if (reference_) measures.output = reference_->losses(by_head);
  measures.regret = oracle.regret(kept);
  return measures;
}

Measures LayerJudge::judge_decoding(const Policy& policy, const LayerRetention& kept) const {
  const trace::LayerView view = trace::layer_view(data_);
  const DecodedLayer decoded = decode_layer(*policy.decoding, view, future_, policy.granularity,
                                            policy.ranges(data_.shape), policy.protection, kept);
  analysis::HoldingTimes times;
  for (Index head = 0; head < data_.shape.query_heads; ++head) {
    times.until.emplace_back(decoded.until[static_cast<std::size_t>(set_of(policy.granularity, data_.shape, head))]);
  }
  const analysis::DecodingLosses losses = reference_->losses(times);
  return {losses.summary, losses.output, {}};
}

}  // namespace evictlab::sim
