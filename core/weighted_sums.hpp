#pragma once

#include <cstddef>
#include <span>

// Attention outputs of positions in any order: where sums of few positions are differences of sums of many, they are
// taken in double.

namespace evictlab::core {

/// Sums are computed in tiles: so many rows, of so many values.
inline constexpr std::size_t kWeightTile = 8;
inline constexpr std::size_t kValueTile = 6;

/// One implementation of add_weighted_values. All implementations give the same bits.
struct WeightedSumKernel {
  const char* name;
  bool supported;  // by this machine: calling one that is not is an illegal instruction
  void (*add)(std::span<const float* const> weights, const double* values, std::size_t rows, std::size_t width,
              double* sums);
};

/// Every implementation, the fastest first; the last one is portable and always supported.
std::span<const WeightedSumKernel> weighted_sum_kernels();

/// sums[c][t] += sum over positions p of weights[p][t] * values[p][c], one position after the other, every step fused:
/// adding a list in parts changes no bit. weights: of each position, `rows` of them, a multiple of kWeightTile; values
/// [positions, width], width a multiple of kValueTile; sums [width, rows]. The fastest instruction set of the machine
/// is chosen at run time. Throws std::invalid_argument when sizes contradict.
void add_weighted_values(std::span<const float* const> weights, std::span<const double> values, std::size_t rows,
                         std::size_t width, std::span<double> sums);

}  // namespace evictlab::core
