#include "sim/replay/replay_rows.hpp"

#include <algorithm>
#include <cmath>

namespace evictlab::sim {
namespace {

using results::Cell;

Cell whole(Index value) { return static_cast<std::int64_t>(value); }

// The bounds need output norms; value_bound, exact_loss, relative_loss are measured in the full tier alone.
constexpr std::size_t kMeasures = 9;
using MeasureCells = std::array<Cell, kMeasures>;

MeasureCells cells_of(const Measures& measures) {
  const analysis::SummaryLosses& summary = measures.summary;
  MeasureCells cells = {summary.retained_mass, summary.prompt_retained_mass};
  if (summary.bounds) {
    cells[2] = summary.bounds->ada;
    cells[3] = summary.bounds->head;
    cells[4] = summary.bounds->keptmax;
  }
  if (measures.regret) cells[8] = *measures.regret;
  if (measures.output) {
    cells[5] = measures.output->value_bound;
    cells[6] = measures.output->exact_loss;
    cells[7] = measures.output->relative_loss;
  }
  return cells;
}

// Empty where a layer's is: a mean over some of the layers is another measure.
MeasureCells mean_over_layers(const std::vector<LayerOutcome>& layers) {
  MeasureCells mean;
  for (std::size_t m = 0; m < kMeasures; ++m) {
    double sum = 0.0;
    bool complete = !layers.empty();
    for (const LayerOutcome& layer : layers) {
      const Cell cell = cells_of(layer.measures)[m];
      const double* value = std::get_if<double>(&cell);
      complete = complete && value != nullptr;
      if (value != nullptr) sum += *value;
    }
    if (complete) mean[m] = sum / static_cast<double>(layers.size());
  }
  return mean;
}

void add_replay_row(const RowContext& context, Cell slots_held, Cell bytes, Cell layer, const MeasureCells& measures,
                    std::string status, ReplayResult& result) {
  const auto& [model, prompt, policy, budget] = context;
  std::vector<Cell> cells = {prompt.id,
                             prompt.task,
                             whole(prompt.future_length),
                             policy.name,
                             policy.parameters,
                             policy.variant,
                             policy.protection.text(),
                             std::string(granularity_name(policy.granularity)),
                             requested(budget, model),
                             std::move(slots_held),
                             std::move(bytes),
                             std::move(layer)};
  cells.insert(cells.end(), measures.begin(), measures.end());
  cells.emplace_back(std::move(status));
  result.replay.add_row(std::move(cells));
}

std::vector<Cell> key_cells(const RowContext& context, Index layer) {
  return {context.prompt.id, context.policy.name, context.policy.parameters, requested(context.budget, context.model),
          whole(layer)};
}

void add_budget_and_position_rows(const RowContext& context, const LayerOutcome& outcome, ReplayResult& result) {
  for (std::size_t set = 0; set < outcome.set_counts.size(); ++set) {
    std::vector<Cell> cells = key_cells(context, outcome.layer);
    cells.emplace_back(static_cast<std::int64_t>(set));
    cells.emplace_back(whole(outcome.set_counts[set]));
    result.budgets.add_row(std::move(cells));
  }
  for (std::size_t bin = 0; outcome.depth_shares && bin < kDepthBins; ++bin) {
    std::vector<Cell> cells = key_cells(context, outcome.layer);
    cells.emplace_back(static_cast<std::int64_t>(bin));
    cells.emplace_back((*outcome.depth_shares)[bin]);
    result.positions.add_row(std::move(cells));
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
  const auto add = [&](const NamedSpans& span, Cell layer, double retained) {
    result.spans.add_row({context.prompt.id, context.prompt.task, whole(context.prompt.prompt_length), span.depth,
                          context.policy.name, context.policy.parameters, requested(context.budget, context.model),
                          std::move(layer), span.name, retained});
  };
  for (const NamedSpans& span : by_name(context.prompt)) {
    double sum = 0.0;
    for (const LayerOutcome& layer : layers) {
      if (layer.span_shares.empty()) return;
      double share = 0.0;
      for (const std::size_t member : span.members) share += layer.span_shares[member];
      share /= static_cast<double>(span.members.size());
      add(span, whole(layer.layer), share);
      sum += share;
    }
    add(span, "all", sum / static_cast<double>(layers.size()));
  }
}

}  // namespace

Cell requested(const Budget& budget, const trace::ModelInfo& model) {
  if (budget.unit() == Budget::Unit::kSlots) return whole(budget.to_slots(model, 0));
  return budget.text();
}

void LayerOutcome::count(const HeldLayer& held, Granularity granularity, bool want_positions,
                         std::span<const trace::Span> spans) {
  layer = held.shape.layer;
  set_counts.clear();
  Index positions = 0;
  for (Index set = 0; set < held.sets(); ++set) {
    set_counts.push_back(held.stored(set));
    positions += set_counts.back();
  }
  slots_held = stored_slots(granularity, held.shape, positions);
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
    (*depth_shares)[bin] = positions == 0 ? 0.0 : static_cast<double>(counts[bin]) / static_cast<double>(positions);
  }
}

ReplayResult empty_result() {
  return {
      results::Table({"prompt",
                      "task",
                      "T",
                      "policy",
                      "parameters",
                      "variant",
                      "protection",
                      "granularity",
                      "budget_requested",
                      "slots_held",
                      "bytes",
                      "layer",
                      "retained_mass",
                      "prompt_retained_mass",
                      "ada_bound",
                      "head_bound",
                      "keptmax_bound",
                      "value_bound",
                      "exact_loss",
                      "relative_loss",
                      "regret",
                      "status"}),
      results::Table({"prompt", "policy", "parameters", "budget_requested", "layer", "head", "slots"}),
      results::Table({"prompt", "policy", "parameters", "budget_requested", "layer", "depth_bin", "share"}),
      results::Table({"prompt", "task", "prompt_length", "depth", "policy", "parameters", "budget_requested", "layer",
                      "span", "retained"}),
      results::Table({"prompt", "policy", "parameters", "budget_requested", "layer", "bytes_before", "bytes_after"}),
      results::Table({"prompt", "task", "policy", "parameters", "budget_requested", "slots_held", "retained_mass",
                      "scoring", "allocation", "allocation_bound", "both"}),
      {}};
}

void add_rows(const RowContext& context, const std::vector<LayerOutcome>& layers, ReplayResult& result) {
  const bool full = context.policy.name == "full";
  const auto status = [full](bool nothing_evicted) { return nothing_evicted && !full ? "degenerate" : "ok"; };
  const double slot_bytes = static_cast<double>(context.model.kv_heads * context.model.slot_bytes());
  double slots = 0.0;
  std::int64_t bytes = 0;
  bool all_kept = true;
  for (const LayerOutcome& layer : layers) {
    const std::int64_t layer_bytes = std::llround(layer.slots_held * slot_bytes);
    add_replay_row(context, layer.slots_held, layer_bytes, whole(layer.layer), cells_of(layer.measures),
                   status(layer.nothing_evicted), result);
    add_budget_and_position_rows(context, layer, result);
    slots += layer.slots_held;
    bytes += layer_bytes;
    all_kept = all_kept && layer.nothing_evicted;
  }
  add_replay_row(context, slots / static_cast<double>(layers.size()), bytes, "all", mean_over_layers(layers),
                 status(all_kept), result);
  add_span_rows(context, layers, result);
}

void add_trajectory(const RowContext& context, const std::vector<TrajectoryPoint>& trajectory, ReplayResult& result) {
  const double slot_bytes = static_cast<double>(context.model.kv_heads * context.model.slot_bytes());
  for (const TrajectoryPoint& point : trajectory) {
    std::vector<Cell> cells = key_cells(context, point.layer);
    for (const double slots : {point.before, point.after}) {
      cells.emplace_back(static_cast<std::int64_t>(std::llround(slots * slot_bytes)));
    }
    result.trajectory.add_row(std::move(cells));
  }
}

void add_headroom(const RowContext& context, const std::vector<LayerOutcome>& layers,
                  const std::optional<Headroom>& headroom, ReplayResult& result) {
  double slots = 0.0;
  for (const LayerOutcome& layer : layers) slots += layer.slots_held;
  const MeasureCells mean = mean_over_layers(layers);
  std::vector<Cell> cells = {context.prompt.id,
                             context.prompt.task,
                             context.policy.name,
                             context.policy.parameters,
                             requested(context.budget, context.model),
                             slots / static_cast<double>(layers.size()),
                             mean[0],
                             mean[8]};
  if (headroom) {
    cells.insert(cells.end(), {headroom->allocation, headroom->allocation_bound, headroom->both});
  } else {
    cells.insert(cells.end(), 3, Cell());
  }
  result.headroom.add_row(std::move(cells));
}

void add_infeasible(const RowContext& context, ReplayResult& result) {
  const MeasureCells none;
  for (const Index layer : context.prompt.layers) {
    add_replay_row(context, {}, {}, whole(layer), none, "infeasible", result);
  }
  add_replay_row(context, {}, {}, "all", none, "infeasible", result);
}

}  // namespace evictlab::sim
