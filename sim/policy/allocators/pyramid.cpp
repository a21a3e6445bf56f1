// PyramidKV's budgets (Cai et al. 2024, arXiv:2406.02069, section 4.2): an arithmetic sequence over the layers, lower
// ones get more. With b = capacity - protected, m candidates of a layer, L layers and slope beta,
//
//   lo = floor(b / beta),  hi = 2 b - lo;   if hi >= m: hi = m, lo = 2 b - hi
//   k_l = hi - l * floor((hi - lo) / (L - 1))
//
// in whole numbers, as FFY0/AdaKV computes it: what the division drops stays with the layers, so that the sum is at
// least L b, by up to L (L - 1) / 2. A layer whose k_l reaches its candidates is kept whole; with b > m the division
// is of a negative number and rounds down. KVCache-Factory gives every layer the flat b when n < 2 b. NVIDIA/kvpress
// computes in real numbers and rounds k_l, which there counts the window, and is flat unless n >= hi >= lo >= window.
// AdaKV's code computes k_l for the first prompt and keeps it for all later ones; here it is computed for each. With
// one layer, where the code divides by zero, that layer gets b.

#include <fmt/format.h>

#include <cmath>

#include "sim/policy/arithmetic.hpp"
#include "sim/policy/parts.hpp"

namespace evictlab::sim {
namespace {

// Candidates of layer l; may exceed m or be negative.
Index whole_share(Index b, Index candidates, Index beta, Index layer, Index layers) {
  Index low = floor_division(b, beta);
  Index high = 2 * b - low;
  if (high >= candidates) {
    high = candidates;
    low = 2 * b - high;
  }
  if (layers == 1) return b;
  return high - layer * floor_division(high - low, layers - 1);
}

// Positions of layer l, protected ones included.
Index real_share(double capacity, Index visible, Index protected_count, Index beta, Index layer, Index layers) {
  const auto window = static_cast<double>(protected_count);
  const auto n = static_cast<double>(visible);
  const double base = (window + capacity) - window;  // as the code has it, rounding included
  double low = base / static_cast<double>(beta);
  double high = base * 2 - low;
  if (high >= n - window) {
    high = n - window;
    low = base * 2 - high;
  }
  const bool pyramid = n >= high && high >= low && low >= window && layers > 1;
  if (!pyramid) return static_cast<Index>(std::nearbyint(capacity));
  const double step = (high - low) / static_cast<double>(layers - 1);
  return static_cast<Index>(std::nearbyint(high - static_cast<double>(layer) * step));
}

}  // namespace

LayerShare uniform_share() {
  return {"uniform", [](const AllocationRequest& request, const LayerSummary& summary, Index /*layer*/) {
            return request.capacity(summary.layer.shape);
          }};
}

LayerShare pyramid_share(PyramidRule rule, Index beta) {
  const char* name = rule == PyramidRule::kAdaKv     ? "adakv"
                     : rule == PyramidRule::kKvPress ? "kvpress"
                                                     : "kvcache-factory";
  return {fmt::format("pyramid(beta={},rule={})", beta, name),
          [rule, beta](const AllocationRequest& request, const LayerSummary& summary, Index layer) {
            const PositionRanges& ranges = summary.ranges;
            const Index protects = ranges.protected_count();
            const Index capacity = request.capacity(summary.layer.shape);
            if (rule == PyramidRule::kKvPress) {
              const double real = request.real_capacity(summary.layer.shape);
              return std::max(protects, real_share(real, ranges.visible(), protects, beta, layer, request.layers));
            }
            const Index b = capacity - protects;
            if (rule == PyramidRule::kKvCacheFactory) {
              if (ranges.visible() < capacity) return ranges.visible();
              if (ranges.visible() < 2 * b) return capacity;
            }
            return protects + std::max<Index>(0, whole_share(b, ranges.candidates(), beta, layer, request.layers));
          }};
}

}  // namespace evictlab::sim
