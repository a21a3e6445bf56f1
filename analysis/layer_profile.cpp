#include "analysis/layer_profile.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analysis/window_statistics.hpp"

namespace evictlab::analysis {
namespace {

using trace::Index;
using Sets = std::vector<std::vector<std::uint32_t>>;  // [H]

Index visible_positions(const trace::LayerShape& shape) {
  return shape.prompt_length - shape.first_seen(shape.prompt_length - 1);
}

void set_cake(const trace::LayerData& layer, const LayerOptions& options, LayerProfile& profile) {
  const trace::LayerShape& shape = layer.shape;
  const Index rows = std::min(options.window, layer.window_attention.rows());
  const Index first = shape.first_seen(shape.prompt_length - 1);
  const Index count = std::max<Index>(0, shape.prompt_length - rows - first);
  const AttentionSpread spread = attention_spread(layer.window_attention.view(), rows, first, count);
  profile.dispersion = spread.dispersion;
  profile.shift = spread.shift;
  profile.preference = std::pow(spread.dispersion, 1.0 / options.tau1) * std::pow(spread.shift, 1.0 / options.tau2);
  const auto heads = static_cast<double>(shape.query_heads);
  if (count > 1) {
    profile.dispersion_normalized =
        spread.dispersion / (heads * static_cast<double>(rows) * std::log(static_cast<double>(count)));
  }
  profile.shift_normalized = spread.shift / heads;
}

/// Of the last window row, the share on the first `sinks` and the last `recent` positions, mean over heads.
double lazy_mass(const trace::LayerData& layer, const ProfileOptions& options) {
  const trace::TensorView last = layer.window_attention.view().row_range(layer.window_attention.rows() - 1, 1);
  double sum = 0.0;
  for (Index head = 0; head < layer.shape.query_heads; ++head) {
    const AttentionProfile profile = attention_profile(last, head, layer.shape.sliding_window, {}, options);
    sum += profile.sink_mass + profile.recent_mass;
  }
  return sum / static_cast<double>(layer.shape.query_heads);
}

double coefficient_of_variation(std::span<const AttentionProfile> heads, std::size_t share, double mean) {
  if (mean <= 0.0) return 0.0;
  double squares = 0.0;
  for (const AttentionProfile& head : heads) {
    const double deviation = static_cast<double>(head.positions_for[share]) - mean;
    squares += deviation * deviation;
  }
  return std::sqrt(squares / static_cast<double>(heads.size())) / mean;
}

void set_overlaps(const trace::LayerShape& shape, const Sets& sets, LayerProfile& profile) {
  double inside = 0.0;
  double outside = 0.0;
  Index pairs_inside = 0;
  Index pairs_outside = 0;
  for (Index a = 0; a < shape.query_heads; ++a) {
    for (Index b = a + 1; b < shape.query_heads; ++b) {
      const double overlap = jaccard_index(sets[static_cast<std::size_t>(a)], sets[static_cast<std::size_t>(b)]);
      const bool same = shape.kv_head_of(a) == shape.kv_head_of(b);
      (same ? inside : outside) += overlap;
      ++(same ? pairs_inside : pairs_outside);
    }
  }
  profile.head_overlap = pairs_outside > 0 ? outside / static_cast<double>(pairs_outside) : 1.0;
  if (pairs_inside > 0) profile.group_overlap = inside / static_cast<double>(pairs_inside);
}

/// Share of a head's prompt mass on a set.
double share_on(std::span<const float> mass, std::span<const std::uint32_t> set) {
  const double total = std::accumulate(mass.begin(), mass.end(), 0.0);
  double sum = 0.0;
  for (const std::uint32_t position : set) sum += static_cast<double>(mass[position]);
  return total > 0.0 ? sum / total : 0.0;
}

double group_cost(const trace::LayerData& layer, std::span<const RankedMass> future, Index count) {
  const trace::LayerShape& shape = layer.shape;
  const auto n = static_cast<std::size_t>(shape.prompt_length);
  double cost = 0.0;
  for (Index group = 0; group < shape.kv_heads; ++group) {
    const Index first = group * shape.group_size();
    std::vector<double> summed(n, 0.0);
    for (Index head = first; head < first + shape.group_size(); ++head) {
      const auto mass = layer.future_mass.view().float_row(head, 0).first(n);
      for (std::size_t j = 0; j < n; ++j) summed[j] += static_cast<double>(mass[j]);
    }
    const std::vector<std::uint32_t> shared = top_set(rank_mass(summed), count);
    for (Index head = first; head < first + shape.group_size(); ++head) {
      const double own = mass_on_top(future[static_cast<std::size_t>(head)], count);
      cost += std::max(0.0, own - share_on(layer.future_mass.view().float_row(head, 0).first(n), shared));
    }
  }
  return cost / static_cast<double>(shape.query_heads);
}

}  // namespace

std::vector<RankedMass> rank_future(const trace::LayerData& layer) {
  std::vector<RankedMass> ranked;
  for (Index head = 0; head < layer.shape.query_heads; ++head) {
    const auto mass =
        layer.future_mass.view().float_row(head, 0).first(static_cast<std::size_t>(layer.shape.prompt_length));
    ranked.push_back(rank_mass(std::vector<double>(mass.begin(), mass.end())));
  }
  return ranked;
}

LayerProfile layer_profile(const trace::LayerData& layer, std::span<const RankedMass> window,
                           std::span<const AttentionProfile> heads, const LayerOptions& options) {
  const trace::LayerShape& shape = layer.shape;
  LayerProfile profile;
  set_cake(layer, options, profile);
  for (std::size_t i = 0; i < kMassShares.size(); ++i) {
    double sum = 0.0;
    for (const AttentionProfile& head : heads) sum += static_cast<double>(head.positions_for[i]);
    profile.positions_for[i] = sum / static_cast<double>(heads.size());
  }
  constexpr std::size_t kNinetyPercent = 1;
  profile.head_spread = coefficient_of_variation(heads, kNinetyPercent, profile.positions_for[kNinetyPercent]);
  profile.lazy_mass = lazy_mass(layer, options.profile);

  const Index count = top_count(visible_positions(shape), options.profile.top);
  Sets sets;
  for (const RankedMass& head : window) {
    sets.push_back(top_set(head, count));
    profile.run_length += mean_run_length(sets.back()) / static_cast<double>(window.size());
  }
  set_overlaps(shape, sets, profile);
  if (!layer.future_mass.empty()) {
    const std::vector<RankedMass> future = rank_future(layer);
    double hits = 0.0;
    for (std::size_t head = 0; head < sets.size(); ++head)
      hits += share_inside(top_set(future[head], count), sets[head]);
    profile.window_hit_rate = hits / static_cast<double>(sets.size());
    profile.group_cost = group_cost(layer, future, count);
  }
  return profile;
}

}  // namespace evictlab::analysis
