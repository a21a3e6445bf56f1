#include "lab/profile_tables.hpp"

#include <algorithm>
#include <numeric>
#include <set>

#include "analysis/attention_map.hpp"
#include "analysis/future_steps.hpp"
#include "analysis/window_statistics.hpp"
#include "core/interrupt.hpp"
#include "core/parallel.hpp"
#include "core/select.hpp"

namespace evictlab::lab {

using namespace analysis;
using results::Cell;
using results::Table;
namespace {

using trace::Field;
using trace::Index;

/// What one layer of one prompt contributes.
struct LayerResult {
  std::vector<AttentionProfile> heads;
  LayerProfile profile;
  std::vector<std::array<double, kFractions.size()>> concentration;  // [H]
  std::vector<std::uint32_t> top;                                    // by the window mass of all heads together
  std::vector<float> falling;                                        // every head's window sums, largest first
  std::optional<FutureSteps> future;
  std::optional<AttentionMap> map;
};

std::optional<trace::Span> needle_of(const trace::PromptInfo& prompt) {
  const auto found = std::ranges::find(prompt.spans, "needle", &trace::Span::name);
  return found == prompt.spans.end() ? std::nullopt : std::optional(*found);
}

LayerResult layer_result(const trace::Source& source, Index number, Index layer_number, const LayerOptions& options,
                         bool with_map) {
  const trace::PromptInfo& prompt = source.prompts()[static_cast<std::size_t>(number)];
  const bool has_future = prompt.future_length > 0;
  const bool has_states = has_future && prompt.recorded().contains(Field::kQueries | Field::kKeys);
  trace::Fields fields = Field::kWindowAttention;
  if (has_future) fields |= Field::kFutureMass;
  if (has_states) fields |= Field::kQueries | Field::kKeys;
  const trace::LayerData layer = source.layer(number, layer_number, fields);
  const trace::LayerShape& shape = layer.shape;
  const trace::TensorView attention = layer.window_attention.view();
  const Index visible = shape.prompt_length - shape.first_seen(shape.prompt_length - 1);
  const Index count = top_count(visible, options.profile.top);

  LayerResult result;
  std::vector<RankedMass> ranked;
  std::vector<double> all(static_cast<std::size_t>(shape.prompt_length));
  std::vector<float> sums;
  for (Index head = 0; head < shape.query_heads; ++head) {
    std::vector<double> own(all.size());
    add_window_sums(attention, head, attention.rows(), 0, own);
    for (std::size_t j = 0; j < all.size(); ++j) all[j] += own[j];
    sums.insert(sums.end(), own.begin(), own.end());
    ranked.push_back(rank_mass(own));
    result.heads.push_back(attention_profile(attention, head, shape.sliding_window, ranked.back(), options.profile));
    auto& fractions = result.concentration.emplace_back();
    for (std::size_t i = 0; i < kFractions.size(); ++i) {
      fractions[i] = mass_on_top(ranked.back(), top_count(visible, kFractions[i]));
    }
  }
  result.profile = layer_profile(layer, ranked, result.heads, options);
  result.top = top_set(rank_mass(all), count);
  for (const std::uint32_t index : core::argsort_descending(sums)) result.falling.push_back(sums[index]);
  if (has_states) result.future = future_steps(layer, ranked, count, needle_of(prompt));
  if (with_map) result.map = attention_map(attention, kMapQueries, kMapBins);
  return result;
}

/// DynamicKV's question (Zhou et al. 2024, arXiv:2412.14838): of the largest window sums of all layers, as many as all
/// heads' top sets hold, which share is in each layer?
std::vector<double> retained_shares(const std::vector<LayerResult>& layers, Index count_of_prompt) {
  std::vector<std::span<const float>> lists;
  for (const LayerResult& layer : layers) lists.emplace_back(layer.falling);
  const std::vector<std::ptrdiff_t> counts = core::counts_of_largest(lists, count_of_prompt);
  const double total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::ptrdiff_t{0}));
  std::vector<double> shares;
  for (const std::ptrdiff_t count : counts) shares.push_back(total > 0 ? static_cast<double>(count) / total : 0.0);
  return shares;
}

Cell optional_cell(const std::optional<double>& value) { return value ? Cell(*value) : Cell(); }

template <typename... Parts>
std::vector<std::string> columns_of(std::initializer_list<const char*> first, Parts... more) {
  std::vector<std::string> columns(first.begin(), first.end());
  (columns.insert(columns.end(), more.begin(), more.end()), ...);
  return columns;
}

using Names = std::initializer_list<const char*>;

ProfileTables empty_tables() {
  return {
      .attention = Table(columns_of({"prompt", "task", "layer", "head", "entropy_nats", "normalized_entropy",
                                     "effective_positions", "sink_mass", "recent_mass", "heavy_mass", "rest_mass"},
                                    kMassShareColumns, Names{"retrieval_score", "kind"})),
      .layers = Table(columns_of({"prompt", "task", "layer", "dispersion", "shift", "preference", "preference_share",
                                  "dispersion_normalized", "shift_normalized", "retained_share"},
                                 kMassShareColumns,
                                 Names{"lazy_mass", "head_spread", "window_hit_rate", "group_cost", "head_overlap",
                                       "group_overlap", "run_length"})),
      .concentration = Table({"prompt", "task", "layer", "head", "fraction", "mass"}),
      .overlap = Table({"prompt", "task", "layer", "other_layer", "overlap"}),
      .future = Table({"prompt", "task", "layer", "step", "hit_rate", "drift"}),
      .maps = Table({"prompt", "task", "prompt_length", "layer", "query", "depth_bin", "attention"})};
}

void add_attention_rows(const trace::PromptInfo& prompt, Index layer, const LayerResult& result, Table& table) {
  for (std::size_t head = 0; head < result.heads.size(); ++head) {
    const AttentionProfile& profile = result.heads[head];
    std::vector<Cell> row{prompt.id,
                          prompt.task,
                          layer,
                          static_cast<std::int64_t>(head),
                          profile.entropy,
                          profile.normalized_entropy,
                          profile.effective_positions,
                          profile.sink_mass,
                          profile.recent_mass,
                          profile.heavy_mass,
                          profile.rest_mass};
    for (const Index positions : profile.positions_for) row.emplace_back(positions);
    const bool scored = result.future && !result.future->retrieval_score.empty();
    row.emplace_back();
    if (scored) row.back() = result.future->retrieval_score[head];
    row.emplace_back(std::string(head_kind(profile)));
    table.add_row(std::move(row));
  }
}

void add_layer_rows(const trace::PromptInfo& prompt, const std::vector<LayerResult>& results, double top,
                    Table& table) {
  double preferences = 0.0;
  for (const LayerResult& result : results) preferences += result.profile.preference;
  Index total = 0;
  for (const LayerResult& result : results) {
    total += static_cast<Index>(result.heads.size()) * top_count(prompt.prompt_length, top);
  }
  const std::vector<double> retained = retained_shares(results, total);
  for (std::size_t i = 0; i < results.size(); ++i) {
    const LayerProfile& profile = results[i].profile;
    std::vector<Cell> row{prompt.id,
                          prompt.task,
                          prompt.layers[i],
                          profile.dispersion,
                          profile.shift,
                          profile.preference,
                          preferences > 0 ? profile.preference / preferences : 0.0,
                          profile.dispersion_normalized,
                          profile.shift_normalized,
                          retained[i]};
    for (const double positions : profile.positions_for) row.emplace_back(positions);
    row.insert(row.end(), {profile.lazy_mass, profile.head_spread, optional_cell(profile.window_hit_rate),
                           optional_cell(profile.group_cost), profile.head_overlap,
                           optional_cell(profile.group_overlap), profile.run_length});
    table.add_row(std::move(row));
  }
}

void add_map_rows(const trace::PromptInfo& prompt, Index layer, const AttentionMap& map, Table& table) {
  const Index window = std::min<Index>(prompt.window, prompt.prompt_length);
  for (Index query = 0; query < map.queries; ++query) {
    // The first window row of this part of the picture, as a position of the prompt.
    const Index first = (query * window + map.queries - 1) / map.queries;
    for (Index bin = 0; bin < map.bins; ++bin) {
      table.add_row({prompt.id, prompt.task, prompt.prompt_length, layer, prompt.prompt_length - window + first, bin,
                     map.at(query, bin)});
    }
  }
}

void add_prompt(const trace::PromptInfo& prompt, const std::vector<LayerResult>& results, double top,
                ProfileTables& tables) {
  for (std::size_t i = 0; i < results.size(); ++i) {
    const LayerResult& result = results[i];
    const Index layer = prompt.layers[i];
    add_attention_rows(prompt, layer, result, tables.attention);
    for (std::size_t head = 0; head < result.concentration.size(); ++head) {
      for (std::size_t f = 0; f < kFractions.size(); ++f) {
        tables.concentration.add_row({prompt.id, prompt.task, layer, static_cast<std::int64_t>(head), kFractions[f],
                                      result.concentration[head][f]});
      }
    }
    for (std::size_t other = 0; other < results.size(); ++other) {
      tables.overlap.add_row(
          {prompt.id, prompt.task, layer, prompt.layers[other], jaccard_index(result.top, results[other].top)});
    }
    if (result.map) add_map_rows(prompt, layer, *result.map, tables.maps);
    if (!result.future) continue;
    for (std::size_t step = 0; step < result.future->drift.size(); ++step) {
      tables.future.add_row({prompt.id, prompt.task, layer, static_cast<std::int64_t>(step),
                             result.future->hit_rate[step], result.future->drift[step]});
    }
  }
  add_layer_rows(prompt, results, top, tables.layers);
}

}  // namespace

ProfileTables profile_tables(const trace::Source& source, const LayerOptions& options,
                             const std::function<void(double, double)>& progress) {
  ProfileTables tables = empty_tables();
  double total = 0.0;
  for (const trace::PromptInfo& prompt : source.prompts()) total += static_cast<double>(prompt.layers.size());
  double done = 0.0;
  std::set<std::string> tasks;  // those with a picture
  for (std::size_t p = 0; p < source.prompts().size(); ++p) {
    const trace::PromptInfo& prompt = source.prompts()[p];
    core::throw_if_interrupted();
    const bool with_map = tasks.insert(prompt.task).second;
    std::vector<LayerResult> results(prompt.layers.size());
    core::parallel_for(results.size(), [&](std::size_t i) {
      results[i] = layer_result(source, static_cast<Index>(p), prompt.layers[i], options, with_map);
    });
    add_prompt(prompt, results, options.profile.top, tables);
    done += static_cast<double>(results.size());
    if (progress) progress(done, total);
  }
  return tables;
}

}  // namespace evictlab::lab
