#include "lab/profile_tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "analysis/attention_map.hpp"
#include "analysis/future_steps.hpp"
#include "analysis/window_statistics.hpp"
#include "core/interrupt.hpp"
#include "core/parallel.hpp"
#include "core/select.hpp"
#include "core/text.hpp"
#include "results/schema.hpp"

namespace evictlab::lab {
namespace {

using results::Row;
using results::Table;
using trace::Field;
using trace::Index;

/// What one layer of one prompt contributes.
struct LayerResult {
  std::vector<analysis::AttentionProfile> heads;
  analysis::LayerProfile profile;
  std::vector<std::array<double, kFractions.size()>> concentration;  // [H]
  std::vector<std::uint32_t> top;                                    // by the window mass of all heads together
  std::vector<float> falling;                                        // every head's window sums, largest first
  std::optional<analysis::FutureSteps> future;
  std::optional<analysis::AttentionMap> map;
};

std::optional<trace::Span> needle_of(const trace::PromptInfo& prompt) {
  const auto found = std::ranges::find(prompt.spans, "needle", &trace::Span::name);
  return found == prompt.spans.end() ? std::nullopt : std::optional(*found);
}

LayerResult layer_result(const trace::Source& source, Index number, Index layer_number,
                         const analysis::LayerOptions& options, bool with_map) {
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
  const Index count = analysis::top_count(visible, options.profile.top);

  LayerResult result;
  std::vector<analysis::RankedMass> ranked;
  std::vector<double> all(static_cast<std::size_t>(shape.prompt_length));
  std::vector<float> sums;
  for (Index head = 0; head < shape.query_heads; ++head) {
    std::vector<double> own(all.size());
    analysis::add_window_sums(attention, head, attention.rows(), 0, own);
    for (std::size_t j = 0; j < all.size(); ++j) all[j] += own[j];
    sums.insert(sums.end(), own.begin(), own.end());
    ranked.push_back(analysis::rank_mass(own));
    result.heads.push_back(
        analysis::attention_profile(attention, head, shape.sliding_window, ranked.back(), options.profile));
    auto& fractions = result.concentration.emplace_back();
    for (std::size_t i = 0; i < kFractions.size(); ++i) {
      fractions[i] = analysis::mass_on_top(ranked.back(), analysis::top_count(visible, kFractions[i]));
    }
  }
  result.profile = analysis::layer_profile(layer, ranked, result.heads, options);
  result.top = analysis::top_set(analysis::rank_mass(all), count);
  for (const std::uint32_t index : core::argsort_descending(sums)) result.falling.push_back(sums[index]);
  if (has_states) result.future = analysis::future_steps(layer, ranked, count, needle_of(prompt));
  if (with_map) result.map = analysis::attention_map(attention, kMapQueries, kMapBins);
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

ProfileTables empty_tables() {
  const auto table = [](const char* name) { return results::new_table(name); };
  return {.attention = table("attention"),
          .layers = table("layers"),
          .concentration = table("concentration"),
          .overlap = table("overlap"),
          .future = table("future"),
          .maps = table("maps")};
}

Row layer_row(const trace::PromptInfo& prompt, Index layer, const Table& table) {
  Row row(table);
  row.set("prompt", prompt.id).set("task", prompt.task).set("layer", layer);
  return row;
}

/// The columns positions_80, ...
template <typename Number>
void set_mass_shares(Row& row, const std::array<Number, analysis::kMassShareColumns.size()>& positions) {
  for (std::size_t i = 0; i < positions.size(); ++i) row.set(analysis::kMassShareColumns[i], positions[i]);
}

void add_attention_rows(const trace::PromptInfo& prompt, Index layer, const LayerResult& result, Table& table) {
  for (std::size_t head = 0; head < result.heads.size(); ++head) {
    const analysis::AttentionProfile& profile = result.heads[head];
    Row row = layer_row(prompt, layer, table);
    row.set("head", head)
        .set("entropy_nats", profile.entropy)
        .set("normalized_entropy", profile.normalized_entropy)
        .set("effective_positions", profile.effective_positions)
        .set("sink_mass", profile.sink_mass)
        .set("recent_mass", profile.recent_mass)
        .set("heavy_mass", profile.heavy_mass)
        .set("rest_mass", profile.rest_mass)
        .set("kind", analysis::head_kind(profile));
    set_mass_shares(row, profile.positions_for);
    const bool scored = result.future && !result.future->retrieval_score.empty();
    if (scored) row.set("retrieval_score", result.future->retrieval_score[head]);
    table.add_row(std::move(row));
  }
}

void add_layer_rows(const trace::PromptInfo& prompt, const std::vector<LayerResult>& results, double top,
                    Table& table) {
  double preferences = 0.0;
  for (const LayerResult& result : results) preferences += result.profile.preference;
  Index total = 0;
  for (const LayerResult& result : results) {
    total += static_cast<Index>(result.heads.size()) * analysis::top_count(prompt.prompt_length, top);
  }
  const std::vector<double> retained = retained_shares(results, total);
  for (std::size_t i = 0; i < results.size(); ++i) {
    const analysis::LayerProfile& profile = results[i].profile;
    Row row = layer_row(prompt, prompt.layers[i], table);
    row.set("dispersion", profile.dispersion)
        .set("shift", profile.shift)
        .set("preference", profile.preference)
        .set("preference_share", preferences > 0 ? profile.preference / preferences : 0.0)
        .set("dispersion_normalized", profile.dispersion_normalized)
        .set("shift_normalized", profile.shift_normalized)
        .set("retained_share", retained[i])
        .set("lazy_mass", profile.lazy_mass)
        .set("head_spread", profile.head_spread)
        .set("window_hit_rate", profile.window_hit_rate)
        .set("group_cost", profile.group_cost)
        .set("head_overlap", profile.head_overlap)
        .set("group_overlap", profile.group_overlap)
        .set("run_length", profile.run_length);
    set_mass_shares(row, profile.positions_for);
    table.add_row(std::move(row));
  }
}

/// Four significant digits, for tables of many thousand cells: recorded rows have no more, and the others would be half
/// of the table.
double shortened(double value) { return core::parse_number(fmt::format("{:.4g}", value)).value(); }

void add_map_rows(const trace::PromptInfo& prompt, Index layer, const analysis::AttentionMap& map, Table& table) {
  const Index window = std::min<Index>(prompt.window, prompt.prompt_length);
  for (Index query = 0; query < map.queries; ++query) {
    // The first window row of this part of the picture, as a position of the prompt.
    const Index first = (query * window + map.queries - 1) / map.queries;
    for (Index bin = 0; bin < map.bins; ++bin) {
      Row row = layer_row(prompt, layer, table);
      row.set("prompt_length", prompt.prompt_length)
          .set("query", prompt.prompt_length - window + first)
          .set("depth_bin", bin)
          .set("attention", shortened(map.at(query, bin)));
      table.add_row(std::move(row));
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
        Row row = layer_row(prompt, layer, tables.concentration);
        row.set("head", head).set("fraction", kFractions[f]).set("mass", shortened(result.concentration[head][f]));
        tables.concentration.add_row(std::move(row));
      }
    }
    for (std::size_t other = 0; other < results.size(); ++other) {
      Row row = layer_row(prompt, layer, tables.overlap);
      row.set("other_layer", prompt.layers[other])
          .set("overlap", analysis::jaccard_index(result.top, results[other].top));
      tables.overlap.add_row(std::move(row));
    }
    if (result.map) add_map_rows(prompt, layer, *result.map, tables.maps);
    if (!result.future) continue;
    for (std::size_t step = 0; step < result.future->drift.size(); ++step) {
      Row row = layer_row(prompt, layer, tables.future);
      row.set("step", step)
          .set("hit_rate", shortened(result.future->hit_rate[step]))
          .set("drift", shortened(result.future->drift[step]));
      tables.future.add_row(std::move(row));
    }
  }
  add_layer_rows(prompt, results, top, tables.layers);
}

}  // namespace

ProfileTables profile_tables(const trace::Source& source, const analysis::LayerOptions& options,
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
