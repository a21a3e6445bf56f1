#pragma once

#include <fmt/format.h>

#include <string>
#include <type_traits>
#include <vector>

#include "results/measures.hpp"
#include "results/schema.hpp"

// Columns that several tables have, for the files that make schemas.

namespace evictlab::results::columns {

using Columns = std::vector<Column>;

inline Column text(const char* name, const char* meaning) { return {name, ColumnType::kText, "", meaning}; }
inline Column integer(const char* name, const char* unit, const char* meaning) {
  return {name, ColumnType::kInteger, unit, meaning};
}
inline Column number(const char* name, const char* unit, const char* meaning) {
  return {name, ColumnType::kNumber, unit, meaning};
}

inline Column prompt() { return text("prompt", "the prompt's id in the trace or prompts file"); }
inline Column task() { return text("task", "the prompt's task; may be empty"); }
inline Column document() {
  return text("document", "the text that the prompt was made from; empty: no other prompt is made from its text");
}
inline Column variant() {
  return text("variant", "the source that the policy follows: an authors' code base or the paper");
}
inline Column role() {
  return text("role", "`method` (competes), `control` (random, protect-only) or `ceiling` (reads the future, or full)");
}
inline Column budget() {
  return text("budget_requested", "the budget as asked for: slots, a ratio of the prompt, or bytes");
}
inline Column slots_held(const char* meaning = "stored slots per layer, divided by kv heads") {
  return number("slots_held", "slots", meaning);
}
/// What a comparison is at: see "Equal slots" in docs/analyses.md.
inline Column slots_compared(const char* meaning) { return number("slots_compared", "slots", meaning); }
inline Column layer() { return integer("layer", "", "the layer's index in the model"); }
inline Column prompt_length() { return integer("prompt_length", "positions", "positions of the prompt"); }
inline Column layer_or_all(const char* meaning) { return text("layer", meaning); }
inline Column count(const char* name, const char* meaning) { return integer(name, "prompts", meaning); }
inline Column documents() { return integer("documents", "documents", "that these prompts were made from"); }
inline Column status() {
  return text(
      "status",
      "`ok`; `infeasible`: the budget is below the protection, and measures are empty; `too-short`: the policy "
      "reads more queries than the prompt has, and measures are empty; `degenerate`: nothing was evicted, though "
      "the policy is not `full`");
}

template <typename... Parts>
inline Columns joined(const Parts&... parts) {
  Columns all;
  const auto add = [&all](const auto& part) {
    if constexpr (std::is_same_v<std::decay_t<decltype(part)>, Column>) {
      all.push_back(part);
    } else {
      all.insert(all.end(), part.begin(), part.end());
    }
  };
  (add(parts), ...);
  return all;
}

/// Policy and parameters, which together name a policy.
inline Columns policy_columns() {
  return {text("policy", "the policy's name"),
          text("parameters", "all of its parameters, in canonical order; empty for policies without any")};
}

/// The ends of the interval of the value before: "<prefix>low", "<prefix>high".
inline Columns interval_ends(const std::string& prefix, const std::string& unit) {
  return {{prefix + "low", ColumnType::kNumber, unit,
           "lower end of its 95 % bootstrap interval over prompts; empty for one prompt"},
          {prefix + "high", ColumnType::kNumber, unit, "upper end"}};
}

/// A value with the ends of its interval: "<name>", "<name>_low", "<name>_high".
inline Columns with_interval(const std::string& name, const std::string& unit, const std::string& meaning) {
  return joined(Column{name, ColumnType::kNumber, unit, meaning}, interval_ends(name + "_", unit));
}

/// A mean over random halvings of the documents.
inline Columns over_splits(const std::string& name, const std::string& unit, const std::string& meaning) {
  return {{name, ColumnType::kNumber, unit, meaning + "; mean over splits"},
          {name + "_low", ColumnType::kNumber, unit, "of 95 % of the splits, the lower end"},
          {name + "_high", ColumnType::kNumber, unit, "upper end"}};
}

inline Columns mean_with_interval(const char* meaning) {
  return joined(number("mean", "", meaning), interval_ends("", ""));
}

inline Column measure_column(Measure measure) {
  const MeasureInfo& own = info(measure);
  return {std::string(own.column), ColumnType::kNumber, std::string(own.unit), std::string(own.definition)};
}

inline Columns measure_columns() {
  Columns columns;
  for (const MeasureInfo& own : measures()) {
    columns.push_back(measure_column(own.id));
    columns.back().meaning += fmt::format("; {} is better{}", own.better == Better::kHigher ? "higher" : "lower",
                                          own.tier == MeasureTier::kFull        ? "; full tier"
                                          : own.tier == MeasureTier::kGradients ? "; with gradients"
                                                                                : "");
    if (own.layers == OverLayers::kSum) columns.back().meaning += "; `all` is the sum over the layers";
    if (own.layers == OverLayers::kWhole) columns.back().meaning += "; of `all` alone";
    if (own.layers == OverLayers::kWorstSpan)
      columns.back().meaning += "; `all` is the least of the spans' means over the layers";
    if (own.layers == OverLayers::kPooled) columns.back().meaning += "; `all` is over all layers' queries together";
  }
  return columns;
}

/// What a live divergence on one prompt lies within.
inline Columns predicted_interval() {
  return {
      number("predicted_kl_low", "nats",
             "lower end of the 90 % prediction interval of the live divergence; empty where the calibration has fewer "
             "than nine documents"),
      number("predicted_kl_high", "nats", "upper end")};
}

inline Column calibrated_by() {
  return text(
      "calibration",
      "what `predicted_kl` rests on: empty: nothing; `learned`: runs of this model; `decode`: likewise, of runs "
      "that go on evicting while they decode; `extrapolated`: these, of other lengths, budgets or policies; "
      "`default`: runs of another model, without an interval");
}

/// Measures that a stretch of the answer has of its own.
inline Columns curve_measures() {
  Columns columns;
  for (const Measure measure :
       {Measure::kSquaredError, Measure::kRelativeSquaredError, Measure::kOutputRelativeSquaredError}) {
    columns.push_back(measure_column(measure));
  }
  columns.push_back(measure_column(Measure::kPredictedKl));
  return columns;
}

inline Column eviction() {
  return text("eviction", "`prompt`: policies that evict once, at its end; `decode`: those that go on while decoding");
}

inline Columns mass_share_columns(const char* meaning) {
  Columns columns;
  for (const char* name : {"positions_80", "positions_90", "positions_95", "positions_99"}) {
    columns.push_back(number(name, "positions", meaning));
  }
  return columns;
}

}  // namespace evictlab::results::columns

namespace evictlab::results {

/// Adds the tables of `validate`.
void add_validate_tables(std::vector<TableSchema>& all);

}  // namespace evictlab::results
