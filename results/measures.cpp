#include "results/measures.hpp"

#include <algorithm>
#include <array>

namespace evictlab::results {
namespace {

constexpr std::array kMeasureInfos = {
#define EVICTLAB_MEASURE(id, column, label, unit, better, layers, tier, definition) \
  MeasureInfo{Measure::id, column, label, unit, Better::better, OverLayers::layers, MeasureTier::tier, definition},
#include "results/measures.def"
#undef EVICTLAB_MEASURE
};

}  // namespace

std::span<const MeasureInfo> measures() { return kMeasureInfos; }

const MeasureInfo& info(Measure measure) { return kMeasureInfos[index_of(measure)]; }

std::optional<Measure> measure_of(std::string_view column) {
  const auto found = std::ranges::find(kMeasureInfos, column, &MeasureInfo::column);
  return found == kMeasureInfos.end() ? std::nullopt : std::optional(found->id);
}

bool is_share(Measure measure) { return info(measure).unit == "share"; }

double amount_lost(Measure measure, double value) {
  return info(measure).better == Better::kHigher ? 1.0 - value : value;
}

double as_loss(Measure measure, double value) { return info(measure).better == Better::kHigher ? -value : value; }

}  // namespace evictlab::results
