#pragma once

#include <span>
#include <vector>

#include "runtime/model_config.hpp"

namespace evictlab::runtime {

/// Rotary frequencies [d/2] in radians per position (Su et al. 2021, arXiv:2104.09864):
///   frequency_i = theta^(-2i/d)
/// kLlama3 divides those whose wavelength 2 pi / frequency exceeds original_positions / low_freq_factor by
/// `factor`, keeps those below original_positions / high_freq_factor, and interpolates between.
/// Computed in float with the steps of Hugging Face transformers: an angle is position * frequency, so at
/// position 100000 the frequency's last bit is worth a hundredth of a radian.
std::vector<float> rope_frequencies(const RopeConfig& rope, Index head_dim);

/// cos and sin [count, d/2] of the angles of positions first, first+1, ...
struct RopeTable {
  trace::RowMatrix cosine;
  trace::RowMatrix sine;
};
RopeTable rope_table(std::span<const float> frequencies, Index first, Index count);

/// Turns row r of `vectors` [m, d] by row r of the table, pairing element i with i + d/2 (the rotate_half
/// convention of checkpoints in Hugging Face layout), and writes it to `out` [m, d].
void rotate(const Eigen::Ref<const trace::RowMatrix>& vectors, const RopeTable& table,
            Eigen::Ref<trace::RowMatrix> out);

}  // namespace evictlab::runtime
