#pragma once

#include <span>

#include "runtime/kv_cache.hpp"
#include "runtime/linear.hpp"
#include "runtime/rope.hpp"

// Vector-Jacobian products of the kernels that a forward pass consists of: from the gradient of a scalar by a kernel's
// output, the gradient by its input; that of apply() is apply_transposed(). Weights are constants. Results do not
// depend on the number of threads.
//
// Several scalars ("draws", R of them) share one forward pass of m rows: their gradients are one matrix [R * m, ...],
// draw after draw, whose row r * m + t belongs to row t of the forward pass.

namespace evictlab::runtime {

/// Of rms_norm(): with f = 1 / sqrt(mean_j x_j^2 + eps),
///   dx_i = f w_i dy_i - x_i f^3 / n sum_j w_j dy_j x_j
/// x [m, n]; replaces dy [R * m, n] by dx.
void rms_norm_backward(const Eigen::Ref<const RowMatrix>& x, std::span<const float> weight, double eps,
                       Eigen::Ref<RowMatrix> dy);

/// Of gate_with_silu(), y = silu(gate) * up: with s = 1 / (1 + exp(-gate)),
///   dgate = dy * up * s (1 + gate (1 - s)),   dup = dy * gate * s
/// gate, up [m, n]; replaces dy [R * m, n] by dup and writes dgate [R * m, n].
void gate_with_silu_backward(const Eigen::Ref<const RowMatrix>& gate, const Eigen::Ref<const RowMatrix>& up,
                             Eigen::Ref<RowMatrix> dy, Eigen::Ref<RowMatrix> dgate);

/// Of rotate(), the turn back: of every head of `gradients` [R * m, heads * d] in place. `table` [m, d/2].
void rotate_backward(const RopeTable& table, Eigen::Ref<RowMatrix> gradients);

/// Gradients by what the attention of a chunk of m positions reads of them.
struct AttentionGradients {
  RowMatrix queries;  // [R * m, H*d] position encoding applied
  RowMatrix keys;     // [R * m, G*d] position encoding applied
  RowMatrix values;   // [R * m, G*d]
};

/// Of cached_attention(), O = A V with A = softmax(scale Q K^T): per query head, row by row
///   dA = dO V^T,   dS = A * (dA - rowsum(A * dA)),   dQ = scale dS K,   dK = scale dS^T Q,   dV = A^T dO
/// queries [H, m, d] are those of the last m slots of the cache, whose keys and values get gradients; those before are
/// constants. dO [R * m, H*d]. Takes kQueryBlock queries at a time, so a few blocks of as many rows by all slots for
/// each thread.
AttentionGradients cached_attention_backward(const trace::TensorView& queries, const KvCache& cache, Index layer,
                                             float scale, Index sliding_window, const RowMatrix& output_gradients);

}  // namespace evictlab::runtime
