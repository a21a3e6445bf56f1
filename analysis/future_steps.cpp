#include "analysis/future_steps.hpp"

#include <algorithm>

#include "analysis/future_attention.hpp"
#include "core/select.hpp"

namespace evictlab::analysis {

using trace::Index;

FutureSteps future_steps(const trace::LayerData& layer, std::span<const RankedMass> window, Index count,
                         const std::optional<trace::Span>& needle) {
  const trace::LayerShape& shape = layer.shape;
  const trace::FutureView future = trace::future_view(layer);
  const Index first = shape.first_visible();
  const auto steps = static_cast<std::size_t>(shape.future_length);
  const auto heads = static_cast<double>(shape.query_heads);
  FutureSteps result{std::vector<double>(steps), std::vector<double>(steps), {}};
  trace::RowMatrix rows;  // of the kv group that `head` is in
  for (Index head = 0; head < shape.query_heads; ++head) {
    if (head % shape.group_size() == 0) rows = future_attention(shape, future, shape.kv_head_of(head), first);
    const std::vector<std::uint32_t> foreseen = top_set(window[static_cast<std::size_t>(head)], count);
    std::vector<std::uint32_t> at_first;
    double found = 0.0;
    for (std::size_t t = 0; t < steps; ++t) {
      const Index row = head % shape.group_size() * shape.future_length + static_cast<Index>(t);
      const std::span weights(rows.row(row).data(), static_cast<std::size_t>(shape.prompt_length - first));
      std::vector<std::uint32_t> set = core::top_positions(weights, static_cast<std::size_t>(count));
      for (std::uint32_t& position : set) position += static_cast<std::uint32_t>(first);
      if (t == 0) at_first = set;
      result.hit_rate[t] += share_inside(set, foreseen) / heads;
      result.drift[t] += (1.0 - jaccard_index(set, at_first)) / heads;
      const Index most = first + (std::ranges::max_element(weights) - weights.begin());
      if (needle && most >= needle->begin && most < needle->end) found += 1.0;
    }
    if (needle && steps > 0) result.retrieval_score.push_back(found / static_cast<double>(steps));
  }
  return result;
}

}  // namespace evictlab::analysis
