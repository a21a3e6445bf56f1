#include "checks.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "adapter.hpp"
#include "cake_checks.hpp"
#include "entropy_checks.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/eviction.hpp"

namespace evictlab::golden {
namespace {

using trace::hdf5::File;
using Counts = std::vector<std::uint8_t>;  // [n]: how often each position is stored

Counts counts_of(std::span<const std::int32_t> positions, Index length) {
  Counts counts(static_cast<std::size_t>(length), 0);
  for (const std::int32_t position : positions) ++counts[static_cast<std::size_t>(position)];
  return counts;
}

std::string first_difference(const Counts& ours, const Counts& theirs) {
  for (std::size_t j = 0; j < ours.size(); ++j) {
    if (ours[j] != theirs[j])
      return fmt::format("position {} is kept {} times, by the authors {}", j, ours[j], theirs[j]);
  }
  return {};
}

// A head whose cut falls inside a plateau of equal scores: the same multiset of scores, and the same protected
// positions.
std::string tied_difference(const Counts& ours, const Counts& theirs, std::span<const float> scores, Index candidates) {
  std::multiset<float> own;
  std::multiset<float> other;
  for (std::size_t j = 0; j < ours.size(); ++j) {
    if (static_cast<Index>(j) >= candidates) {
      if (ours[j] != theirs[j]) return fmt::format("protected position {} differs", j);
      continue;
    }
    for (int i = 0; i < ours[j]; ++i) own.insert(scores[j]);
    for (int i = 0; i < theirs[j]; ++i) other.insert(scores[j]);
  }
  return own == other ? "" : "the kept positions have other scores";
}

// The golden's [L, heads, n] counts and how many heads these are.
struct Kept {
  std::vector<std::uint8_t> counts;
  std::vector<std::uint8_t> tied;  // [L, heads], may be empty
  Index heads = 0;
  Index length = 0;

  Kept(const File& file, const Case& golden) {
    const bool stable = file.exists(golden.path + "/kept_stable");
    const std::string object = golden.path + (stable ? "/kept_stable" : "/kept");
    const auto shape = file.dataset(object).shape;
    if (shape.size() != 3) throw trace::TraceError("{}: {} must have three dimensions", file.path().string(), object);
    heads = static_cast<Index>(shape[1]);
    length = static_cast<Index>(shape[2]);
    counts = file.read<std::uint8_t>(object);
    if (file.exists(golden.path + "/boundary_tie")) tied = file.read<std::uint8_t>(golden.path + "/boundary_tie");
  }
  Counts row(Index layer, Index head) const {
    const auto begin = counts.begin() + (layer * heads + head) * length;
    return {begin, begin + length};
  }
  bool is_tied(Index layer, Index head) const {
    return !tied.empty() && tied[static_cast<std::size_t>(layer * heads + head)] != 0;
  }
};

std::string compare_kept(const Kept& kept, const sim::Policy& policy, const sim::Retention& retention,
                         const std::vector<trace::LayerView>& views) {
  for (std::size_t l = 0; l < views.size(); ++l) {
    const sim::LayerRetention& ours = retention.layers[l];
    for (Index head = 0; head < kept.heads; ++head) {
      // Where we hold fewer sets than the authors, their heads share ours.
      const Index set = head * ours.sets() / kept.heads;
      const Counts own = counts_of(ours.kept(set), kept.length);
      const Counts theirs = kept.row(static_cast<Index>(l), head);
      std::string difference = first_difference(own, theirs);
      if (!difference.empty() && kept.is_tied(static_cast<Index>(l), head)) {
        const trace::RowMatrix scores = *sim::score_layer(policy, views[l]).scores;
        const std::span row(scores.row(set).data(), static_cast<std::size_t>(scores.cols()));
        difference = tied_difference(own, theirs, row, policy.ranges(views[l].shape).candidates_end);
      }
      if (!difference.empty()) return fmt::format("layer {} head {}: {}", l, head, difference);
    }
  }
  return {};
}

// Per layer, or per layer and head; counted with the protected positions or without.
std::string compare_budgets(const File& file, const Case& golden, const std::vector<LayerState>& last,
                            bool with_window) {
  const std::string object = golden.path + "/budgets";
  const auto shape = file.dataset(object).shape;
  const auto theirs = file.read<std::int32_t>(object);
  const auto per_layer = static_cast<Index>(theirs.size() / std::max<std::size_t>(1, last.size()));
  if (shape.empty() || shape[0] != last.size()) return "budgets are for another number of layers";
  for (std::size_t l = 0; l < last.size(); ++l) {
    for (Index head = 0; head < per_layer; ++head) {
      const auto set = static_cast<std::size_t>(head) * last[l].budgets.size() / static_cast<std::size_t>(per_layer);
      const Index ours = with_window ? last[l].stored[set] : last[l].budgets[set] - last[l].protected_count;
      const Index expected = theirs[l * static_cast<std::size_t>(per_layer) + static_cast<std::size_t>(head)];
      if (ours != expected)
        return fmt::format("budget of layer {} head {} is {}, the authors' {}", l, head, ours, expected);
    }
  }
  return {};
}

// The last `window` queries play the pass that repeats the prompt.
trace::Tensor repeat_attention(const trace::LayerView& layer, Index window) {
  const trace::LayerShape& shape = layer.shape;
  trace::Tensor largest(trace::ElementType::kFloat32, shape.kv_heads, 1, shape.prompt_length);
  for (Index head = 0; head < shape.kv_heads; ++head) {
    trace::RowMatrix most = trace::RowMatrix::Zero(1, shape.prompt_length);
    for (Index h = head * shape.group_size(); h < (head + 1) * shape.group_size(); ++h) {
      most = most.cwiseMax(layer.window_attention.copy_head(h).bottomRows(window).colwise().maxCoeff());
    }
    largest.set_row(head, 0, {most.data(), static_cast<std::size_t>(most.size())});
  }
  return largest;
}

}  // namespace

std::string check_case(const File& file, const Inputs& inputs, const Case& golden) {
  const auto used =
      static_cast<std::size_t>(golden.params.value("num_layers_used", static_cast<Index>(inputs.layers().size())));
  std::vector<trace::LayerView> views;
  std::vector<trace::LayerData> statistics;  // kvpress takes them behind the sinks, however many these are
  const auto first = golden.params.value("n_sink", trace::kFirstStatisticsPosition);
  for (std::size_t l = 0; l < std::min(used, inputs.layers().size()); ++l) {
    statistics.push_back(inputs.query_statistics(l, std::clamp<Index>(first, 0, inputs.shape().prompt_length - 1)));
  }
  std::vector<trace::Tensor> repeated(used);
  for (std::size_t l = 0; l < std::min(used, inputs.layers().size()); ++l) {
    views.push_back(trace::layer_view(inputs.layers()[l]));
    views.back().query_mean = statistics[l].query_mean.view();
    views.back().query_covariance = statistics[l].query_covariance.view();
    views.back().query_count = statistics[l].query_count;
    views.back().shape.layers = static_cast<Index>(used);
    if (golden.algorithm.ends_with("kvzip")) {
      repeated[l] = repeat_attention(views.back(), golden.params.at("window").get<Index>());
      views.back().repeat_attention = repeated[l].view();
    }
    // What a case takes queries before position encoding for is told with it.
    if (golden.params.contains("rope_theta"))
      views.back().shape.rope_theta = golden.params.at("rope_theta").get<double>();
  }
  const Request request = request_for(golden, inputs.shape());
  const sim::Policy policy = sim::make_policy(request.policy);
  const Kept kept(file, golden);
  if (kept.length != inputs.shape().prompt_length ||
      kept.counts.size() != views.size() * static_cast<std::size_t>(kept.heads * kept.length)) {
    return "kept has another shape than the inputs";
  }

  sim::Eviction eviction(policy, static_cast<Index>(views.size()), request.slots);
  std::vector<std::vector<LayerState>> states;  // [after layer m][layer l <= m]
  for (const trace::LayerView& view : views) {
    eviction.observe(view);
    states.emplace_back();
    for (std::size_t l = 0; l < states.size(); ++l) {
      states.back().push_back(state_of(eviction.layer(l), policy.ranges(views[l].shape).protected_count()));
    }
  }
  const sim::Retention retention = eviction.finish();
  for (std::size_t l = 0; l < views.size(); ++l) {
    states.back()[l] = state_of(retention.layers[l], policy.ranges(views[l].shape).protected_count());
  }

  const bool with_window = file.integer(golden.path, "budget_includes_window") != 0;
  std::string difference = compare_kept(kept, policy, retention, views);
  // Budgets are those of the code's own order of ties. Where heads tie with each other, which lower-first order may
  // give to others, they are not ours; the kept positions are all there is to compare.
  const bool ties_across_heads = golden.algorithm.ends_with("defensivekv") && file.exists(golden.path + "/kept_stable");
  if (difference.empty() && !ties_across_heads) {
    difference = compare_budgets(file, golden, states.back(), with_window);
  }
  if (golden.algorithm == "lava") {
    if (difference.empty()) difference = compare_entropy_cascade(file, golden, policy, request.slots, views, states);
    return difference;
  }
  if (difference.empty()) difference = compare_history(file, golden, states);
  if (difference.empty()) difference = compare_preference(file, golden, views);
  if (difference.empty()) difference = compare_decoding(file, golden, policy, retention, views);
  return difference;
}

}  // namespace evictlab::golden
