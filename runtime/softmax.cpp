#include "runtime/softmax.hpp"

#include <algorithm>

#include "core/elementary.hpp"
#include "runtime/fixed_order_sum.hpp"

namespace evictlab::runtime {

void softmax(float* row, Index visible, Index width, float scale) {
  const float largest = Eigen::Map<const Eigen::ArrayXf>(row, visible).maxCoeff();
  // Whole blocks: what lies behind `visible` is overwritten below.
  const Index end = softmax_padded(visible);
  std::fill(row + visible, row + end, largest);
  Eigen::Map<Eigen::ArrayXf> exponents(row, end);
  exponents = ((exponents - largest) * scale).max(core::kSmallestFloatExponent);
  for (Index i = 0; i < end; ++i) row[i] = core::exponential(row[i]);
  const auto factor = static_cast<float>(1.0 / fixed_order_sum(visible, [row](Index i) { return row[i]; }));
  for (Index i = 0; i < end; ++i) row[i] *= factor;
  std::fill(row + visible, row + std::max(end, width), 0.0F);
}

}  // namespace evictlab::runtime
