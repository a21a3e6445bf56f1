#include "analysis/attention.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/parallel.hpp"

namespace evictlab::analysis {

using trace::Index;

double entropy(std::span<const float> weights) {
  // With s = sum of w_j: H = -sum (w_j/s) ln(w_j/s) = ln s - (1/s) sum w_j ln w_j.
  double sum = 0;
  double weighted_logs = 0;
  for (const double weight : weights) {
    if (weight <= 0) continue;
    sum += weight;
    weighted_logs += weight * std::log(weight);
  }
  return sum > 0 ? std::max(0.0, std::log(sum) - weighted_logs / sum) : 0.0;
}

AttentionProfile attention_profile(const trace::TensorView& window_attention, Index head, Index sliding_window,
                                   const ProfileOptions& options) {
  const Index rows = window_attention.rows();
  const Index n = window_attention.columns();
  const trace::LayerShape shape{.sliding_window = sliding_window};
  AttentionProfile profile;
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
    if (total > 0) {
      profile.sink_mass += mass(begin, std::min(options.sinks, end)) / total;
      profile.recent_mass += mass(std::max(begin, end - options.recent), end) / total;
    }
  }
  const double count = static_cast<double>(std::max<Index>(rows, 1));
  profile.entropy /= count;
  profile.normalized_entropy /= count;
  profile.effective_positions /= count;
  profile.sink_mass /= count;
  profile.recent_mass /= count;
  return profile;
}

Table attention_table(const trace::Source& source, const ProfileOptions& options) {
  Table table({"prompt", "task", "layer", "head", "entropy_nats", "normalized_entropy", "effective_positions",
               "sink_mass", "recent_mass"});
  for (std::size_t p = 0; p < source.prompts().size(); ++p) {
    const trace::PromptInfo& prompt = source.prompts()[p];
    std::vector<std::vector<AttentionProfile>> profiles(prompt.layers.size());  // by layer, head
    core::parallel_for(prompt.layers.size(), [&](std::size_t i) {
      const trace::LayerData layer =
          source.layer(static_cast<Index>(p), prompt.layers[i], trace::Field::kWindowAttention);
      for (Index h = 0; h < layer.shape.query_heads; ++h) {
        profiles[i].push_back(attention_profile(layer.window_attention.view(), h, layer.shape.sliding_window, options));
      }
    });
    for (std::size_t i = 0; i < profiles.size(); ++i) {
      for (std::size_t h = 0; h < profiles[i].size(); ++h) {
        const AttentionProfile& profile = profiles[i][h];
        table.add_row({prompt.id, prompt.task, prompt.layers[i], static_cast<std::int64_t>(h), profile.entropy,
                       profile.normalized_entropy, profile.effective_positions, profile.sink_mass,
                       profile.recent_mass});
      }
    }
  }
  return table;
}

}  // namespace evictlab::analysis
