#include "runtime/rope.hpp"

#include <cmath>
#include <numbers>

namespace evictlab::runtime {
namespace {

float stretched(float frequency, const RopeConfig& rope) {
  const auto original = static_cast<double>(rope.original_positions);
  const auto factor = static_cast<float>(rope.factor);
  const float wavelength = 2.0F * std::numbers::pi_v<float> / frequency;
  if (wavelength > static_cast<float>(original / rope.low_freq_factor)) return frequency / factor;
  if (wavelength < static_cast<float>(original / rope.high_freq_factor)) return frequency;
  const float smooth = (static_cast<float>(original) / wavelength - static_cast<float>(rope.low_freq_factor)) /
                       static_cast<float>(rope.high_freq_factor - rope.low_freq_factor);
  return (1.0F - smooth) * frequency / factor + smooth * frequency;
}

}  // namespace

std::vector<float> rope_frequencies(const RopeConfig& rope, Index head_dim) {
  std::vector<float> frequencies;
  for (Index i = 0; i < head_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(head_dim);
    const float frequency = 1.0F / std::pow(static_cast<float>(rope.theta), exponent);
    frequencies.push_back(rope.type == RopeConfig::Type::kLlama3 ? stretched(frequency, rope) : frequency);
  }
  return frequencies;
}

RopeTable rope_table(std::span<const float> frequencies, Index first, Index count) {
  const auto pairs = static_cast<Index>(frequencies.size());
  RopeTable table{trace::RowMatrix(count, pairs), trace::RowMatrix(count, pairs)};
  for (Index row = 0; row < count; ++row) {
    for (Index i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(first + row) * frequencies[static_cast<std::size_t>(i)];
      table.cosine(row, i) = static_cast<float>(std::cos(static_cast<double>(angle)));
      table.sine(row, i) = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
  return table;
}

void rotate(const Eigen::Ref<const trace::RowMatrix>& vectors, const RopeTable& table,
            Eigen::Ref<trace::RowMatrix> out) {
  const Index pairs = table.cosine.cols();
  const auto first = vectors.leftCols(pairs).array();
  const auto second = vectors.rightCols(pairs).array();
  out.leftCols(pairs) = first * table.cosine.array() - second * table.sine.array();
  out.rightCols(pairs) = second * table.cosine.array() + first * table.sine.array();
}

}  // namespace evictlab::runtime
