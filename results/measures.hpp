#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace evictlab::results {

/// What eviction costs: the columns of replay.csv that results/measures.def lists, in its order.
enum class Measure : std::size_t {
#define EVICTLAB_MEASURE(id, column, label, unit, better, layers, tier, definition) id,
#include "results/measures.def"
#undef EVICTLAB_MEASURE
};

inline constexpr std::size_t kMeasureCount = 0
#define EVICTLAB_MEASURE(id, column, label, unit, better, layers, tier, definition) +1
#include "results/measures.def"
#undef EVICTLAB_MEASURE
    ;

enum class Better { kLower, kHigher };

/// What a run's value is of those of its layers; kPooled: the measure of all layers' queries together; kWorstSpan:
/// the least, over the spans' names, of the mean over the layers; kWhole: not of theirs.
enum class OverLayers { kMean, kSum, kPooled, kWorstSpan, kWhole };

/// What a trace must hold for a measure to be computed.
enum class MeasureTier { kSummary, kFull, kGradients };

struct MeasureInfo {
  Measure id;
  std::string_view column;
  std::string_view label;
  std::string_view unit;
  Better better;
  OverLayers layers;
  MeasureTier tier;
  std::string_view definition;
};

/// All measures, in the order of the tables.
std::span<const MeasureInfo> measures();
const MeasureInfo& info(Measure measure);
constexpr std::size_t index_of(Measure measure) { return static_cast<std::size_t>(measure); }

/// The measure of this column; nothing for any other name.
std::optional<Measure> measure_of(std::string_view column);

/// Whether the values are shares, 0..1.
bool is_share(Measure measure);
/// The value turned so that larger is worse, whatever the measure.
double as_loss(Measure measure, double value);
/// The value as what is lost, 0 for the full cache: 1 - x of a share that is better when higher.
double amount_lost(Measure measure, double value);

}  // namespace evictlab::results
