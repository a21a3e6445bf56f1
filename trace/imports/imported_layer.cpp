#include "trace/imports/imported_layer.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/parallel.hpp"
#include "trace/values.hpp"

namespace evictlab::trace {
namespace {

// Probabilities of bfloat16 have 8 significant bits, and what is below half precision's range is lost.
constexpr double kSumTolerance = 0.01;

// The row divided by its sum.
void normalise(std::span<double> row, const RowLimits& limits, Index head, const std::string& where) {
  if (const std::string problem = row_problem(row, limits); !problem.empty()) {
    throw TraceError("{}, head {}: {} (expected: the last queries' attention, after the softmax)", where, head,
                     problem);
  }
  const double sum = std::accumulate(row.begin(), row.end(), 0.0);
  for (double& value : row) value /= sum;
}

}  // namespace

LayerData imported_layer(const LayerShape& shape, const AttentionRows& attention, const std::string& where) {
  const Index positions = shape.prompt_length + shape.future_length;
  const Index first_query = positions - attention.rows;
  const Index first_of_window = shape.prompt_length - shape.window;
  LayerData layer;
  layer.shape = shape;
  layer.window_attention =
      Tensor(ElementType::kFloat16, shape.query_heads, shape.window, shape.prompt_length, kWindowAttentionScale);
  layer.future_mass = Tensor(ElementType::kFloat32, shape.query_heads, 1, positions);
  const bool every_query = first_query == 0;
  if (every_query) layer.attention_mass = Tensor(ElementType::kFloat32, shape.query_heads, 1, shape.prompt_length);

  core::parallel_for(static_cast<std::size_t>(shape.query_heads), [&](std::size_t index) {
    const auto head = static_cast<Index>(index);
    std::vector<double> row(static_cast<std::size_t>(positions));
    std::vector<double> prompt_mass(static_cast<std::size_t>(shape.prompt_length));
    std::vector<double> future_mass(row.size());
    std::vector<float> floats(row.size());
    const auto as_floats = [&floats](std::span<const double> values) {
      std::ranges::transform(values, floats.begin(), [](double value) { return static_cast<float>(value); });
      return std::span<const float>(floats).first(values.size());
    };
    for (Index i = 0; i < attention.rows; ++i) {
      const Index position = first_query + i;
      attention.read(head, i, row);
      normalise(row, {shape.first_seen(position), position, kSumTolerance}, head, where);
      const bool of_prompt = position < shape.prompt_length;
      std::vector<double>& mass = of_prompt ? prompt_mass : future_mass;
      for (std::size_t j = 0; j < mass.size(); ++j) mass[j] += row[j];
      if (of_prompt && position >= first_of_window) {
        const std::span<const double> seen(row.data(), prompt_mass.size());
        layer.window_attention.set_row(head, position - first_of_window, as_floats(seen));
      }
    }
    layer.future_mass.set_row(head, 0, as_floats(future_mass));
    if (every_query) layer.attention_mass.set_row(head, 0, as_floats(prompt_mass));
  });
  return layer;
}

}  // namespace evictlab::trace
