#include "sim/replay/run_curve.hpp"

#include <algorithm>
#include <span>

#include "results/curve_steps.hpp"

namespace evictlab::sim {
namespace {

double mean_of(std::span<const double> values) {
  double sum = 0.0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace

void RunCurve::add(const analysis::OutputLosses& layer) {
  squared_.resize(layer.by_query.size(), 0.0);
  output_relative_.resize(layer.by_query.size(), 0.0);
  for (std::size_t t = 0; t < layer.by_query.size(); ++t) {
    squared_[t] += layer.by_query[t].squared_error;
    output_relative_[t] += layer.by_query[t].output_relative;
  }
  has_stream_ = has_stream_ && !layer.stream_relative_errors.empty();
  stream_relative_.resize(has_stream_ ? layer.by_query.size() : 0, 0.0);
  for (std::size_t t = 0; t < stream_relative_.size(); ++t) {
    const double error = layer.stream_relative_errors[t];
    stream_relative_[t] += error * error;
  }
}

void RunCurve::add_rows(const RowContext& context, double slots_held, ReplayResult& result) const {
  using results::Measure;
  for (const results::Stretch& stretch : results::stretches_of(static_cast<std::int64_t>(squared_.size()))) {
    const auto first = static_cast<std::size_t>(stretch.first - 1);
    const std::size_t steps = std::min(squared_.size(), static_cast<std::size_t>(stretch.last)) - first;
    MeasureValues values;
    const auto set = [&](Measure measure, const std::vector<double>& by_query) {
      if (!by_query.empty()) values[results::index_of(measure)] = mean_of(std::span(by_query).subspan(first, steps));
    };
    set(Measure::kSquaredError, squared_);
    set(Measure::kOutputRelativeSquaredError, output_relative_);
    set(Measure::kRelativeSquaredError, stream_relative_);
    results::Row row = run_row(context, result.curves);
    row.set("task", context.prompt.task)
        .set("document", context.prompt.document)
        .set("slots_held", slots_held)
        .set("step_first", stretch.first)
        .set("step_last", stretch.last)
        .set("steps", steps);
    for (const Measure measure :
         {Measure::kSquaredError, Measure::kOutputRelativeSquaredError, Measure::kRelativeSquaredError}) {
      row.set(results::info(measure).column, values[results::index_of(measure)]);
    }
    if (foretells_whole_runs(context)) {
      const auto predicted = context.predictor->at_steps(predicted_run(context, slots_held, values), stretch.last);
      if (predicted) set_predicted(row, *predicted);
    }
    result.curves.add_row(std::move(row));
  }
}

}  // namespace evictlab::sim
