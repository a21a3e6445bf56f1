#include "sim/replay/scorer_agreement.hpp"

#include <map>
#include <optional>
#include <vector>

#include "analysis/top_sets.hpp"
#include "core/interrupt.hpp"
#include "core/parallel.hpp"
#include "core/select.hpp"
#include "results/rank_correlation.hpp"
#include "results/schema.hpp"
#include "sim/policy/future.hpp"
#include "sim/replay/eviction.hpp"
#include "sim/replay/replay_rows.hpp"

namespace evictlab::sim {
namespace {

struct Foresight {
  double spearman = 0.0;
  double recall = 0.0;
};

Foresight foresight(const trace::RowMatrix& scores, const trace::RowMatrix& shares, const PositionRanges& ranges,
                    double top) {
  const auto count = static_cast<std::size_t>(analysis::top_count(ranges.candidates(), top));
  Foresight result;
  for (Index set = 0; set < scores.rows(); ++set) {
    const auto candidates = [&](const trace::RowMatrix& matrix) {
      return std::span(matrix.row(set).data() + ranges.candidates_begin, static_cast<std::size_t>(ranges.candidates()));
    };
    const auto own = candidates(scores);
    const auto future = candidates(shares);
    result.spearman += results::spearman(results::average_ranks(own), results::average_ranks(future));
    result.recall += analysis::share_inside(core::top_positions(future, count), core::top_positions(own, count));
  }
  result.spearman /= static_cast<double>(scores.rows());
  result.recall /= static_cast<double>(scores.rows());
  return result;
}

/// One layer's agreements, policy by policy; none where nothing is unprotected or the prompt too short for the policy.
std::vector<std::optional<Foresight>> layer_agreements(const trace::LayerData& data, std::span<const Policy> policies,
                                                       double top) {
  const trace::FutureView future = trace::future_view(data);
  const trace::LayerView view = trace::layer_view(data);
  trace::LayerView with_future = view;
  with_future.future = &future;
  KnownScores known;
  std::map<Granularity, trace::RowMatrix> shares;
  std::vector<std::optional<Foresight>> result;
  for (const Policy& policy : policies) {
    const PositionRanges ranges = policy.ranges(data.shape);
    if (!policy.scorer || ranges.candidates() <= 0 || is_too_short(policy, data.shape.prompt_length)) {
      result.emplace_back();
      continue;
    }
    const trace::LayerView& seen = policy.scorer->needs().future ? with_future : view;
    const Importance importance = score_layer(policy, seen, known);
    known.try_emplace(scorer_key(*policy.scorer), importance.scores);
    auto [entry, is_new] = shares.try_emplace(policy.granularity);
    if (is_new) entry->second = future_importance(data.shape, data.future_mass.view(), policy.granularity);
    result.push_back(foresight(*importance.scores, entry->second, ranges, top));
  }
  return result;
}

}  // namespace

results::Table scorer_table(const trace::Source& source, std::span<const Policy> policies, double top,
                            const std::function<void(double, double)>& progress) {
  trace::Fields fields = trace::Field::kFutureMass;
  bool reads_output_weight = false;
  double total = 0.0;
  for (const Policy& policy : policies) {
    fields |= policy.needs().fields;
    reads_output_weight = reads_output_weight || policy.needs().output_weight;
  }
  for (const trace::PromptInfo& prompt : source.prompts()) {
    for (const Policy& policy : policies) check_needs(policy, prompt);
    total += static_cast<double>(prompt.layers.size());
  }
  results::Table table = results::new_table("scorers");
  double done = 0.0;
  for (std::size_t p = 0; p < source.prompts().size(); ++p) {
    const trace::PromptInfo& prompt = source.prompts()[p];
    core::throw_if_interrupted();
    if (prompt.future_length == 0) continue;
    std::vector<std::vector<std::optional<Foresight>>> layers(prompt.layers.size());
    core::parallel_for(layers.size(), [&](std::size_t i) {
      trace::LayerData data = source.layer(static_cast<Index>(p), prompt.layers[i], fields);
      if (reads_output_weight) {
        data.output_weight = std::make_shared<const trace::RowMatrix>(source.output_weight(prompt.layers[i]));
      }
      layers[i] = layer_agreements(data, policies, top);
    });
    for (std::size_t i = 0; i < layers.size(); ++i) {
      for (std::size_t k = 0; k < policies.size(); ++k) {
        if (!layers[i][k]) continue;
        results::Row row(table);
        row.set("prompt", prompt.id).set("task", prompt.task).set("layer", prompt.layers[i]);
        row.set("policy", policies[k].name).set("parameters", policies[k].parameters);
        row.set("role", role_name(policies[k].role));
        row.set("spearman", layers[i][k]->spearman).set("recall", layers[i][k]->recall);
        table.add_row(std::move(row));
      }
    }
    done += static_cast<double>(prompt.layers.size());
    if (progress) progress(done, total);
  }
  return table;
}

}  // namespace evictlab::sim
