#include "runtime/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace evictlab::runtime {
namespace {

using RopeType = RopeConfig::Type;

/// kLlama3.
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

/// kYarn: which pairs are mixed, from the last that is kept to the first that is divided.
struct YarnRange {
  double low = 0.0;
  double high = 0.0;
};

YarnRange yarn_range(const RopeConfig& rope, Index head_dim) {
  // The (fractional) pair that turns `turns` times within the original positions.
  const auto pair_of = [&](double turns) {
    const double wavelength = static_cast<double>(rope.original_positions) / turns;
    return static_cast<double>(head_dim) * std::log(wavelength / (2.0 * std::numbers::pi)) /
           (2.0 * std::log(rope.theta));
  };
  YarnRange range{pair_of(rope.beta_fast), pair_of(rope.beta_slow)};
  if (rope.truncate) range = {std::floor(range.low), std::ceil(range.high)};
  range = {std::max(range.low, 0.0), std::min(range.high, static_cast<double>(head_dim - 1))};
  if (range.low == range.high) range.high += 0.001;
  return range;
}

float interpolated(float frequency, const RopeConfig& rope, const YarnRange& range, Index pair) {
  const auto low = static_cast<float>(range.low);
  const float ramp =
      std::clamp((static_cast<float>(pair) - low) / static_cast<float>(range.high - range.low), 0.0F, 1.0F);
  const float kept = 1.0F - ramp;
  return frequency / static_cast<float>(rope.factor) * (1.0F - kept) + frequency * kept;
}

/// kDynamic.
double grown_theta(const RopeConfig& rope, Index head_dim, Index length) {
  const auto d = static_cast<double>(head_dim);
  const double stretch =
      rope.factor * static_cast<double>(length) / static_cast<double>(rope.original_positions) - (rope.factor - 1.0);
  return rope.theta * std::pow(stretch, d / (d - 2.0));
}

}  // namespace

std::vector<float> rope_frequencies(const RopeConfig& rope, Index head_dim, Index length) {
  const bool grown = rope.type == RopeType::kDynamic && length > rope.original_positions;
  const auto theta = static_cast<float>(grown ? grown_theta(rope, head_dim, length) : rope.theta);
  const YarnRange range = rope.type == RopeType::kYarn ? yarn_range(rope, head_dim) : YarnRange{};
  std::vector<float> frequencies;
  for (Index i = 0; i < head_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(head_dim);
    float frequency = 1.0F / std::pow(theta, exponent);
    if (rope.type == RopeType::kLinear) frequency /= static_cast<float>(rope.factor);
    if (rope.type == RopeType::kLlama3) frequency = stretched(frequency, rope);
    if (rope.type == RopeType::kYarn) frequency = interpolated(frequency, rope, range, i / 2);
    if (!rope.frequency_divisors.empty()) frequency /= rope.frequency_divisors[static_cast<std::size_t>(i / 2)];
    frequencies.push_back(frequency);
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

RopeTable rope_table(const RopeConfig& rope, Index head_dim, Index first, Index count) {
  const bool by_position = rope.type == RopeType::kDynamic && first > 0 && first + count > rope.original_positions;
  if (!by_position) {
    RopeTable table = rope_table(rope_frequencies(rope, head_dim, first + count), first, count);
    if (rope.attention_factor != 1.0) {
      table.cosine *= static_cast<float>(rope.attention_factor);
      table.sine *= static_cast<float>(rope.attention_factor);
    }
    return table;
  }
  RopeTable table{trace::RowMatrix(count, head_dim / 2), trace::RowMatrix(count, head_dim / 2)};
  for (Index row = 0; row < count; ++row) {
    const Index position = first + row;
    const RopeTable one = rope_table(rope_frequencies(rope, head_dim, position + 1), position, 1);
    table.cosine.row(row) = one.cosine;
    table.sine.row(row) = one.sine;
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
