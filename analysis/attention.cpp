#include "analysis/attention.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "analysis/window_statistics.hpp"
#include "core/elementary.hpp"

namespace evictlab::analysis {

using trace::Index;

double entropy(std::span<const float> weights) {
  // With s = sum of w_j: H = -sum (w_j/s) ln(w_j/s) = ln s - (1/s) sum w_j ln w_j.
  constexpr std::size_t kBlock = 256;
  Eigen::Array<double, static_cast<int>(kBlock), 1> block;
  Eigen::Array<double, static_cast<int>(kBlock), 1> logarithms;
  double sum = 0;
  double weighted_logs = 0;
  for (std::size_t begin = 0; begin < weights.size(); begin += kBlock) {
    const auto count = static_cast<Index>(std::min(kBlock, weights.size() - begin));
    block.head(count) = Eigen::Map<const Eigen::ArrayXf>(weights.data() + begin, count).cast<double>().max(0.0);
    logarithms.head(count) = block.head(count).max(std::numeric_limits<double>::min());  // 0 ln 0 = 0
    for (Index i = 0; i < count; ++i) logarithms[i] = core::natural_logarithm(logarithms[i]);
    for (Index i = 0; i < count; ++i) {
      sum += block[i];
      weighted_logs += block[i] * logarithms[i];
    }
  }
  return sum > 0 ? std::max(0.0, std::log(sum) - weighted_logs / sum) : 0.0;
}

namespace {

/// Positions that are neither sinks nor recent for the last row, most mass first: as many as a top set has.
std::vector<std::uint32_t> heavy_positions(const RankedMass& ranked, Index visible, const ProfileOptions& options) {
  const auto n = static_cast<Index>(ranked.order.size());
  const Index wanted = top_count(visible, options.top);
  std::vector<std::uint32_t> heavy;
  for (const std::uint32_t position : ranked.order) {
    if (static_cast<Index>(heavy.size()) == wanted) break;
    if (position >= options.sinks && position < n - options.recent) heavy.push_back(position);
  }
  return heavy;
}

}  // namespace

RankedMass rank_window(const trace::TensorView& window_attention, Index head) {
  std::vector<double> sums(static_cast<std::size_t>(window_attention.columns()));
  add_window_sums(window_attention, head, window_attention.rows(), 0, sums);
  return rank_mass(sums);
}

AttentionProfile attention_profile(const trace::TensorView& window_attention, Index head, Index sliding_window,
                                   const RankedMass& ranked, const ProfileOptions& options) {
  const Index rows = window_attention.rows();
  const Index n = window_attention.columns();
  const trace::LayerShape shape{.sliding_window = sliding_window};
  const std::vector<std::uint32_t> heavy = heavy_positions(ranked, n - shape.first_seen(n - 1), options);
  AttentionProfile profile;
  for (std::size_t i = 0; i < kMassShares.size(); ++i) {
    profile.positions_for[i] = positions_for(ranked, kMassShares[i]);
  }
  std::vector<float> row(static_cast<std::size_t>(n));
  for (Index r = 0; r < rows; ++r) {
    window_attention.copy_row(head, r, row);
    const Index end = n - rows + r + 1;  // positions 0..end-1 are the query's causal prefix
    const Index begin = shape.first_seen(end - 1);
    const auto mass = [&row](Index first, Index last) {
      return first < last ? std::accumulate(row.begin() + first, row.begin() + last, 0.0) : 0.0;
    };
    const double total = mass(begin, end);
    const double nats =
        entropy(std::span(row).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)));
    profile.entropy += nats;
    if (end - begin > 1) profile.normalized_entropy += nats / std::log(static_cast<double>(end - begin));
    profile.effective_positions += std::exp(nats);
    if (total <= 0) continue;
    const Index sinks_end = std::min(options.sinks, end);
    const Index recent_begin = std::max({begin, sinks_end, end - options.recent});
    const double sinks = mass(begin, sinks_end) / total;
    const double recent = mass(recent_begin, end) / total;
    double hitters = 0;
    for (const std::uint32_t position : heavy) hitters += position < recent_begin ? row[position] / total : 0.0;
    profile.sink_mass += sinks;
    profile.recent_mass += recent;
    profile.heavy_mass += hitters;
    profile.rest_mass += std::max(0.0, 1.0 - sinks - recent - hitters);
  }
  const double count = static_cast<double>(std::max<Index>(rows, 1));
  for (double* value : {&profile.entropy, &profile.normalized_entropy, &profile.effective_positions, &profile.sink_mass,
                        &profile.recent_mass, &profile.heavy_mass, &profile.rest_mass}) {
    *value /= count;
  }
  return profile;
}

std::string_view head_kind(const AttentionProfile& profile) {
  if (profile.sink_mass >= 0.5) return "sink";
  if (profile.recent_mass >= 0.5) return "local";
  return profile.heavy_mass >= 0.5 ? "retrieval" : "dispersed";
}

}  // namespace evictlab::analysis
