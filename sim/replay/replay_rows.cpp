#include "sim/replay/replay_rows.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "analysis/losses.hpp"
#include "results/measures.hpp"
#include "results/run_table.hpp"
#include "results/schema.hpp"

namespace evictlab::sim {
namespace {

using results::Cell;

using results::Measure;
using results::Row;
using results::RunStatus;

// The bounds need output norms; those of the output itself are measured in the full tier alone.
MeasureValues measure_values(const Measures& losses) {
  MeasureValues values;
  const auto at = [&values](Measure measure) -> std::optional<double>& { return values[results::index_of(measure)]; };
  at(Measure::kRetainedMass) = losses.summary.retained_mass;
  at(Measure::kPromptRetainedMass) = losses.summary.prompt_retained_mass;
  if (losses.summary.bounds) {
    at(Measure::kAdaBound) = losses.summary.bounds->ada;
    at(Measure::kHeadBound) = losses.summary.bounds->head;
    at(Measure::kKeptMaxBound) = losses.summary.bounds->keptmax;
  }
  if (losses.output) {
    at(Measure::kValueBound) = losses.output->value_bound;
    at(Measure::kExactLoss) = losses.output->exact_loss;
    at(Measure::kRelativeLoss) = losses.output->relative_loss;
    at(Measure::kSquaredError) = losses.output->squared_error;
    if (losses.output->fisher) at(Measure::kFisherLoss) = losses.output->fisher->loss;
    at(Measure::kOutputRelativeSquaredError) = losses.output->output_relative_squared_error;
    if (const auto relative = losses.output->stream_relative_squared_error()) {
      at(Measure::kRelativeSquaredError) = relative;
      at(Measure::kTailLoss) = analysis::mean_of_largest_tenth(losses.output->stream_relative_errors);
    }
  }
  at(Measure::kRegret) = losses.regret;
  if (!losses.span_mass.empty()) at(Measure::kWorstSpanMass) = *std::ranges::min_element(losses.span_mass);
  return values;
}

std::vector<MeasureValues> values_by_layer(const std::vector<LayerOutcome>& layers) {
  std::vector<MeasureValues> values;
  for (const LayerOutcome& layer : layers) values.push_back(measure_values(layer.measures));
  return values;
}

// Empty where a layer has none.
std::optional<double> tail_loss(const std::vector<LayerOutcome>& layers) {
  std::vector<float> errors;
  for (const LayerOutcome& layer : layers) {
    if (!layer.measures.output || layer.measures.output->stream_relative_errors.empty()) return {};
    const std::vector<float>& own = layer.measures.output->stream_relative_errors;
    errors.insert(errors.end(), own.begin(), own.end());
  }
  return analysis::mean_of_largest_tenth(std::move(errors));
}

// Of all layers and queries together. Empty where a layer has no gradients.
std::optional<analysis::FisherKl> fisher_kl(const std::vector<LayerOutcome>& layers, Index queries) {
  std::vector<double> sums;
  for (const LayerOutcome& layer : layers) {
    if (!layer.measures.output || !layer.measures.output->fisher) return {};
    const std::vector<double>& own = layer.measures.output->fisher->sums;
    sums.resize(own.size(), 0.0);
    for (std::size_t draw = 0; draw < own.size(); ++draw) sums[draw] += own[draw];
  }
  if (sums.empty()) return {};
  return analysis::fisher_kl(sums, queries);
}

// The least, over the spans' names, of the mean over the layers. Empty without spans.
std::optional<double> worst_span_mass(const std::vector<LayerOutcome>& layers) {
  std::vector<double> means;
  for (const LayerOutcome& layer : layers) {
    const std::vector<double>& own = layer.measures.span_mass;
    means.resize(own.size(), 0.0);
    for (std::size_t name = 0; name < own.size(); ++name) means[name] += own[name] / static_cast<double>(layers.size());
  }
  if (means.empty()) return {};
  return std::min(1.0, *std::ranges::min_element(means));
}

// The mean or sum. Empty where a layer's is: one over some of the layers is another measure.
std::optional<double> over_layers(const results::MeasureInfo& measure, const std::vector<MeasureValues>& layers) {
  if (layers.empty()) return {};
  double sum = 0.0;
  for (const MeasureValues& layer : layers) {
    const std::optional<double>& value = layer[results::index_of(measure.id)];
    if (!value) return {};
    sum += *value;
  }
  return measure.layers == results::OverLayers::kSum ? sum : sum / static_cast<double>(layers.size());
}

MeasureValues run_values(const std::vector<LayerOutcome>& layers, const std::vector<MeasureValues>& values,
                         const std::optional<analysis::FisherKl>& fisher) {
  MeasureValues run;
  for (const results::MeasureInfo& measure : results::measures()) {
    std::optional<double>& value = run[results::index_of(measure.id)];
    switch (measure.layers) {
      case results::OverLayers::kWhole:
        if (measure.id == Measure::kFisherKl && fisher) value = fisher->kl;
        break;
      case results::OverLayers::kPooled:
        value = tail_loss(layers);
        break;
      case results::OverLayers::kWorstSpan:
        value = worst_span_mass(layers);
        break;
      case results::OverLayers::kMean:
      case results::OverLayers::kSum:
        value = over_layers(measure, values);
        break;
    }
  }
  return run;
}

Cell all_layers() { return results::cell_of(results::kAllLayers); }

/// What a run holds in a layer, or over all of them.
struct Held {
  std::optional<double> slots;
  std::optional<std::int64_t> bytes;
  std::optional<std::int64_t> bytes_padded;
  std::optional<std::int64_t> bytes_paged;
};

std::optional<results::PredictedKl> predicted_kl(const RowContext& context, double slots, const MeasureValues& values) {
  if (!foretells_whole_runs(context)) return std::nullopt;
  return (*context.predictor)(predicted_run(context, slots, values));
}

/// What rows of single layers do not have.
struct WholeRun {
  std::optional<double> fisher_error = {};
  std::optional<results::PredictedKl> predicted = {};
};

void add_replay_row(const RowContext& context, const Held& held, Cell layer, const MeasureValues& values,
                    RunStatus status, ReplayResult& result, const WholeRun& whole = {}) {
  const Policy& policy = context.policy;
  Row row = run_row(context, result.replay);
  row.set("task", context.prompt.task)
      .set("document", context.prompt.document)
      .set("T", context.prompt.future_length)
      .set("variant", policy.variant)
      .set("protection", policy.protection.text())
      .set("granularity", granularity_name(policy.granularity))
      .set("slots_held", held.slots)
      .set("bytes", held.bytes)
      .set("bytes_padded", held.bytes_padded)
      .set("bytes_paged", held.bytes_paged)
      .set("layer", std::move(layer))
      .set("status", results::status_name(status));
  for (const results::MeasureInfo& measure : results::measures()) {
    row.set(measure.column, values[results::index_of(measure.id)]);
  }
  row.set("fisher_kl_error", whole.fisher_error);
  if (whole.predicted) set_predicted(row, *whole.predicted);
  result.replay.add_row(std::move(row));
}

void add_budget_rows(const RowContext& context, const LayerOutcome& outcome, ReplayResult& result) {
  const Row budget_row = run_row(context, result.budgets);
  for (std::size_t set = 0; set < outcome.set_counts.size(); ++set) {
    Row row = budget_row;
    row.set("layer", outcome.layer).set("head", set).set("slots", outcome.set_counts[set]);
    result.budgets.add_row(std::move(row));
  }
}

/// Each kept position counts once, however often it is stored.
std::vector<double> shares_of_spans(const LayerRetention& kept, std::span<const trace::Span> spans) {
  std::vector<double> shares(spans.size(), 0.0);
  if (spans.empty()) return shares;
  for (Index set = 0; set < kept.sets(); ++set) {
    const std::vector<std::int32_t> ascending = kept.kept_ascending(set);
    for (std::size_t i = 0; i < spans.size(); ++i) {
      const auto from = std::ranges::lower_bound(ascending, spans[i].begin);
      const auto to = std::ranges::lower_bound(ascending, spans[i].end);
      const auto length = static_cast<double>(std::max<Index>(1, spans[i].end - spans[i].begin));
      shares[i] += static_cast<double>(to - from) / length;
    }
  }
  for (double& share : shares) share /= static_cast<double>(kept.sets());
  return shares;
}

/// The spans' names, each once, in order, with where the first of that name begins.
struct NamedSpans {
  std::string name;
  double depth = 0.0;
  std::vector<std::size_t> members;
};
std::vector<NamedSpans> by_name(const trace::PromptInfo& prompt) {
  std::vector<NamedSpans> names;
  for (std::size_t i = 0; i < prompt.spans.size(); ++i) {
    const trace::Span& span = prompt.spans[i];
    auto found = std::ranges::find(names, span.name, &NamedSpans::name);
    if (found == names.end()) {
      const auto room = static_cast<double>(std::max<Index>(1, prompt.prompt_length - (span.end - span.begin)));
      found = names.insert(names.end(), {span.name, static_cast<double>(span.begin) / room, {}});
    }
    found->members.push_back(i);
  }
  return names;
}

void add_span_rows(const RowContext& context, const std::vector<LayerOutcome>& layers, ReplayResult& result) {
  const Row span_row = run_row(context, result.spans);
  const auto add = [&](const NamedSpans& span, Cell layer, double retained) {
    Row row = span_row;
    row.set("task", context.prompt.task)
        .set("prompt_length", context.prompt.prompt_length)
        .set("depth", span.depth)
        .set("layer", std::move(layer))
        .set("span", span.name)
        .set("retained", retained);
    result.spans.add_row(std::move(row));
  };
  for (const NamedSpans& span : by_name(context.prompt)) {
    double sum = 0.0;
    for (const LayerOutcome& layer : layers) {
      if (layer.span_shares.empty()) return;
      double share = 0.0;
      for (const std::size_t member : span.members) share += layer.span_shares[member];
      share /= static_cast<double>(span.members.size());
      if (context.by_layer) add(span, layer.layer, share);
      sum += share;
    }
    add(span, all_layers(), sum / static_cast<double>(layers.size()));
  }
}

}  // namespace

double mean_slots(const std::vector<LayerOutcome>& layers) {
  double slots = 0.0;
  for (const LayerOutcome& layer : layers) slots += layer.stored.exact;
  return slots / static_cast<double>(layers.size());
}

Row run_row(const RowContext& context, const results::Table& table) {
  Row row(table);
  row.set("prompt", context.prompt.id);
  const Policy& policy = context.policy;
  set_run(row, {policy.name, policy.parameters}, policy.role, requested(context.budget, context.model));
  return row;
}

bool foretells_whole_runs(const RowContext& context) {
  return context.predictor != nullptr && static_cast<Index>(context.prompt.layers.size()) == context.model.layers;
}

results::PredictedRun predicted_run(const RowContext& context, double slots_held, const MeasureValues& values) {
  return {.policy = context.policy.name,
          .parameters = context.policy.parameters,
          .prompt_length = static_cast<double>(context.prompt.prompt_length),
          .future_length = static_cast<double>(context.prompt.future_length),
          .slots = slots_held,
          .measures = values};
}

void set_predicted(Row& row, const results::PredictedKl& predicted) {
  row.set("predicted_kl", predicted.kl)
      .set("predicted_kl_low", predicted.low)
      .set("predicted_kl_high", predicted.high)
      .set("calibration", results::calibrated_name(predicted.calibrated));
}

Cell requested(const Budget& budget, const trace::ModelInfo& model) {
  if (budget.unit() == Budget::Unit::kSlots) return results::cell_of(budget.to_slots(model, 0));
  return budget.text();
}

void LayerOutcome::count(const HeldLayer& held, Granularity granularity, bool want_positions,
                         std::span<const trace::Span> spans) {
  layer = held.shape.layer;
  set_counts.clear();
  for (Index set = 0; set < held.sets(); ++set) set_counts.push_back(held.stored(set));
  stored = stored_forms(granularity, held.shape, set_counts);
  nothing_evicted = std::ranges::all_of(set_counts, [&](Index count) { return count == held.ranges.visible(); });
  if (!want_positions) return;
  const LayerRetention kept = held.positions();
  std::array<Index, kDepthBins> counts{};
  for (const std::int32_t position : kept.positions) {
    ++counts[static_cast<std::size_t>(position * static_cast<Index>(kDepthBins) / held.shape.prompt_length)];
  }
  span_shares = shares_of_spans(kept, spans);
  depth_shares.emplace();
  for (std::size_t bin = 0; bin < kDepthBins; ++bin) {
    const auto positions = static_cast<double>(kept.positions.size());
    (*depth_shares)[bin] = kept.positions.empty() ? 0.0 : static_cast<double>(counts[bin]) / positions;
  }
}

bool is_too_short(const Policy& policy, Index prompt_length) { return policy.needs().window_rows > prompt_length; }

RunStatus run_status(const Policy& policy, const trace::ModelInfo& model, const trace::PromptInfo& prompt,
                     double slots) {
  if (is_too_short(policy, prompt.prompt_length)) return RunStatus::kTooShort;
  for (const Index layer : prompt.layers) {
    if (!is_feasible(policy, trace::layer_shape(model, prompt, layer), slots)) return RunStatus::kInfeasible;
  }
  return RunStatus::kOk;
}

ReplayResult empty_result() {
  const auto table = [](const char* name) { return results::new_table(name); };
  return {.replay = table("replay"),
          .budgets = table("budgets"),
          .positions = table("positions"),
          .spans = table("spans"),
          .trajectory = table("trajectory"),
          .headroom = table("headroom"),
          .curves = table("curves"),
          .notes = {}};
}

void add_rows(const RowContext& context, const std::vector<LayerOutcome>& layers, ReplayResult& result) {
  const bool should_evict = !context.policy.keeps_everything();
  const auto status = [&](bool nothing_evicted) {
    return nothing_evicted && should_evict ? RunStatus::kDegenerate : RunStatus::kOk;
  };
  const double slot_bytes = static_cast<double>(context.model.kv_heads * context.model.slot_bytes());
  const std::vector<MeasureValues> values = values_by_layer(layers);
  const auto bytes_of = [slot_bytes](double slots) -> std::int64_t { return std::llround(slots * slot_bytes); };
  std::int64_t bytes = 0;
  std::int64_t padded = 0;
  std::int64_t paged = 0;
  bool all_kept = true;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerOutcome& layer = layers[i];
    const Held own{layer.stored.exact, bytes_of(layer.stored.exact), bytes_of(layer.stored.padded),
                   bytes_of(layer.stored.paged)};
    if (context.by_layer) {
      add_replay_row(context, own, layer.layer, values[i], status(layer.nothing_evicted), result);
      add_budget_rows(context, layer, result);
    }
    bytes += *own.bytes;
    padded += *own.bytes_padded;
    paged += *own.bytes_paged;
    all_kept = all_kept && layer.nothing_evicted;
  }
  const double held = mean_slots(layers);
  const auto fisher = fisher_kl(layers, context.prompt.future_length);
  const MeasureValues run = run_values(layers, values, fisher);
  add_replay_row(
      context, {held, bytes, padded, paged}, all_layers(), run, status(all_kept), result,
      {.fisher_error = fisher ? fisher->error : std::nullopt, .predicted = predicted_kl(context, held, run)});
  add_span_rows(context, layers, result);
}

void PositionMeans::add(const RowContext& context, const std::vector<LayerOutcome>& layers) {
  if (!context.by_layer) return;
  const results::PolicyKey key = {context.policy.name, context.policy.parameters};
  for (const LayerOutcome& layer : layers) {
    if (!layer.depth_shares) continue;
    const auto [place, is_new] = by_run_.emplace(std::tuple(key, context.budget.text(), layer.layer), entries_.size());
    if (is_new) {
      entries_.push_back({key, context.policy.role, requested(context.budget, context.model), layer.layer});
    }
    Entry& entry = entries_[place->second];
    for (std::size_t bin = 0; bin < kDepthBins; ++bin) entry.sums[bin] += (*layer.depth_shares)[bin];
    ++entry.prompts;
  }
}

results::Table PositionMeans::table() const {
  results::Table table = results::new_table("positions");
  for (const Entry& entry : entries_) {
    for (std::size_t bin = 0; bin < kDepthBins; ++bin) {
      Row row(table);
      set_run(row, entry.key, entry.role, entry.budget);
      row.set("layer", entry.layer)
          .set("depth_bin", bin)
          .set("prompts", entry.prompts)
          .set("share", entry.sums[bin] / static_cast<double>(entry.prompts));
      table.add_row(std::move(row));
    }
  }
  return table;
}

void add_trajectory(const RowContext& context, const std::vector<TrajectoryPoint>& trajectory, ReplayResult& result) {
  const double slot_bytes = static_cast<double>(context.model.kv_heads * context.model.slot_bytes());
  const auto bytes = [slot_bytes](double slots) { return std::llround(slots * slot_bytes); };
  const Row run = run_row(context, result.trajectory);
  for (const TrajectoryPoint& point : trajectory) {
    Row row = run;
    row.set("layer", point.layer).set("bytes_before", bytes(point.before)).set("bytes_after", bytes(point.after));
    result.trajectory.add_row(std::move(row));
  }
}

void add_headroom(const RowContext& context, const std::vector<LayerOutcome>& layers,
                  const std::optional<Headroom>& headroom, ReplayResult& result) {
  const std::vector<MeasureValues> values = values_by_layer(layers);
  const auto mean = [&](Measure measure) { return over_layers(results::info(measure), values); };
  Row row = run_row(context, result.headroom);
  row.set("task", context.prompt.task)
      .set("slots_held", mean_slots(layers))
      .set("retained_mass", mean(Measure::kRetainedMass))
      .set("scoring", mean(Measure::kRegret));  // the oracle with the same counts
  if (headroom) {
    row.set("allocation", headroom->allocation)
        .set("allocation_bound", headroom->allocation_bound)
        .set("both", headroom->both);
  }
  result.headroom.add_row(std::move(row));
}

void add_not_run(const RowContext& context, RunStatus status, ReplayResult& result) {
  for (const Index layer : context.prompt.layers) {
    if (context.by_layer) add_replay_row(context, {}, layer, {}, status, result);
  }
  add_replay_row(context, {}, all_layers(), {}, status, result);
}

}  // namespace evictlab::sim
