#include "entropy_checks.hpp"

#include <fmt/format.h>

#include <cmath>

#include "sim/policy/allocators/entropy.hpp"
#include "sim/replay/eviction.hpp"

namespace evictlab::golden {

std::string compare_entropy_cascade(const trace::hdf5::File& file, const Case& golden, const sim::Policy& policy,
                                    double slots, const std::vector<trace::LayerView>& views,
                                    const std::vector<std::vector<LayerState>>& states) {
  constexpr double kTolerance = 1e-4;
  const auto preference = file.read<double>(golden.path + "/preference");
  const auto recorded = file.read<std::int32_t>(golden.path + "/cascade_budgets");
  const auto stored = file.read<std::int32_t>(golden.path + "/stored_tokens");
  const std::size_t layers = views.size();
  const auto heads = static_cast<std::size_t>(views.front().shape.kv_heads);
  if (preference.size() != layers || recorded.size() != layers * layers || stored.size() != layers * layers * heads) {
    return "preference, cascade_budgets or stored_tokens is for another number of layers or heads";
  }
  std::vector<double> entropies;
  for (std::size_t m = 0; m < layers; ++m) {
    const sim::PositionRanges ranges = policy.ranges(views[m].shape);
    entropies.push_back(sim::score_entropy(*sim::score_layer(policy, views[m]).scores, ranges));
    if (std::abs(entropies[m] - preference[m]) > kTolerance * preference[m]) {
      return fmt::format("preference of layer {} is {}, the authors' {}", m, entropies[m], preference[m]);
    }
    const Index total = (static_cast<Index>(slots) - ranges.protected_count()) * static_cast<Index>(layers);
    const std::vector<Index> budgets = sim::entropy_budgets(entropies, total);
    for (std::size_t l = 0; l <= m; ++l) {
      if (budgets[l] != recorded[m * layers + l]) {
        return fmt::format("cascade_budgets of layer {} after layer {} is {}, the authors' {}", l, m, budgets[l],
                           recorded[m * layers + l]);
      }
      for (std::size_t head = 0; head < heads; ++head) {
        const Index theirs = stored[(m * layers + l) * heads + head];
        if (states[m][l].stored[head] == theirs) continue;
        return fmt::format("stored_tokens of layer {} head {} after layer {} is {}, the authors' {}", l, head, m,
                           states[m][l].stored[head], theirs);
      }
    }
  }
  return {};
}

}  // namespace evictlab::golden
