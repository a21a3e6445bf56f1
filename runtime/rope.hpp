#pragma once

#include <span>
#include <vector>

#include "runtime/rope_config.hpp"
#include "trace/tensor.hpp"

namespace evictlab::runtime {

/// Rotary frequencies [d/2] in radians per position (Su et al. 2021, arXiv:2104.09864), frequency_i = theta^(-2i/d),
/// as the type changes them:
///   kLinear   divided by `factor`;
///   kDynamic  theta grows with the length of the sequence beyond the original positions n0 (NTK-aware scaling):
///             theta (factor length / n0 - (factor - 1))^(d/(d-2));
///   kLlama3   those whose wavelength 2 pi / frequency exceeds n0 / low_freq_factor divided by `factor`, those below
///             n0 / high_freq_factor kept, those between interpolated;
///   kYarn     pairs that turn more than beta_fast times within n0 kept, those less than beta_slow times divided by
///             `factor`, a linear ramp over i between (Peng et al. 2023, arXiv:2309.00071, section 3.2).
/// `length` matters to kDynamic alone; up to n0 it changes nothing.
/// Computed in float with the steps of Hugging Face transformers: an angle is position * frequency, so at
/// position 100000 the frequency's last bit is worth a hundredth of a radian.
std::vector<float> rope_frequencies(const RopeConfig& rope, Index head_dim, Index length = 0);

/// cos and sin [count, d/2] of the angles of positions first, first+1, ...
struct RopeTable {
  trace::RowMatrix cosine;
  trace::RowMatrix sine;
};
RopeTable rope_table(std::span<const float> frequencies, Index first, Index count);

/// The table of a chunk of positions, multiplied by the attention factor. Where frequencies depend on the length
/// (kDynamic), a chunk that begins the sequence is turned by those of its own length, and a position p of a later one
/// by those of length p + 1: what transformers does in a prefill and the decoding, token by token, that follows it.
/// Keys stay as they were turned.
RopeTable rope_table(const RopeConfig& rope, Index head_dim, Index first, Index count);

/// Turns row r of `vectors` [m, d] by row r of the table, pairing element i with i + d/2 (the rotate_half
/// convention of checkpoints in Hugging Face layout), and writes it to `out` [m, d].
void rotate(const Eigen::Ref<const trace::RowMatrix>& vectors, const RopeTable& table,
            Eigen::Ref<trace::RowMatrix> out);

}  // namespace evictlab::runtime
