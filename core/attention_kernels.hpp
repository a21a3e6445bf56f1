#pragma once

#include <cstddef>
#include <span>

#include "core/attention_rows.hpp"

namespace evictlab::core {

/// Queries times keys are computed in tiles of this many. Eight rows of three AVX-512 vectors are 24 sums, which with
/// their factors fill the 32 registers; half the rows and half the keys of it fill AVX2's 16.
inline constexpr std::size_t kQueryTile = 8;
inline constexpr std::size_t kKeyTile = 48;
/// A product's sum is taken over this many components at a time and those sums are added: that halves the rounding
/// error of a single sum at dim = 128, for a twentieth of the time.
inline constexpr std::size_t kSumSteps = 32;
/// Sums of weights run in this many lanes: element i is added to lane i % kSumLanes.
inline constexpr std::size_t kSumLanes = 16;

/// One implementation of the inner loops of attention_rows. All implementations give the same bits for finite input.
struct AttentionKernels {
  const char* name;
  bool supported;  // by this machine: calling one that is not is an illegal instruction

  /// tile[i][j] = keys[j][i]; keys [count, dim], tile [dim, count], `count` a multiple of 8.
  void (*transpose)(const float* keys, std::size_t count, std::size_t dim, float* tile);
  /// products[r * stride + j] += sum over i of queries[i][r] * keys[i][j]: from i = 0 up, every step fused, started
  /// again every kSumSteps, these sums added in order.
  /// queries [dim, kQueryTile]; keys [dim, kKeyTile].
  void (*multiply)(const float* queries, const float* keys, std::size_t dim, float* products, std::size_t stride);
  /// weights[j] = e^(scale * (logits[j] - largest)), 0 below e^-87; their sum; returns the largest logit. `count` is a
  /// multiple of kSumLanes. Logits of -infinity weigh 0, all of them where there is no other.
  float (*exponentials)(const float* logits, std::size_t count, float scale, float* weights, double* sum);
};

/// Every implementation, the fastest first; the last one is portable and always supported.
std::span<const AttentionKernels> attention_kernels();
/// The fastest that this machine supports.
const AttentionKernels& fastest_attention_kernels();

/// attention_rows by one of them.
void attention_rows(const AttentionKernels& kernels, std::span<const float> queries, std::span<const float> keys,
                    std::size_t dim, float scale, std::span<const VisibleKeys> visible, std::span<float> rows);
void attention_rows(const AttentionKernels& kernels, std::span<const float> queries, std::span<const Half> keys,
                    std::size_t dim, float scale, std::span<const VisibleKeys> visible, std::span<float> rows);

}  // namespace evictlab::core
