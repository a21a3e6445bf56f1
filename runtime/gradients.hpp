#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/observer.hpp"
#include "runtime/transformer.hpp"
#include "trace/model.hpp"
#include "trace/tensor.hpp"

// Gradients of what a model says about a chunk of T future positions by the attention outputs of its layers, after W_O:
// a change of an output at a query reaches the logits there through the residual stream, and later queries through
// their keys and values of it. The keys and values of earlier positions are constants.
//
// Design goals: every architecture of the table; memory of a few activations of T positions; R draws share one forward
// pass, its states computed a second time layer by layer instead of being kept: at most R + 2 forward passes of the
// chunk; the same result on any number of threads.
// Not goals: gradients by weights, prompts or caches that have been evicted from.

namespace evictlab::runtime {

/// Keeps of a forward pass what its backward pass begins from: the residual stream before and after every attention.
class StreamStates : public ForwardObserver {
 public:
  void on_attention_output(Index layer, Index first_position, const RowMatrix& residual,
                           const RowMatrix& output) override;

  Index first_position() const { return first_position_; }
  /// [T, hidden]
  const RowMatrix& before(Index layer) const { return before_.at(static_cast<std::size_t>(layer)); }
  const RowMatrix& after(Index layer) const { return after_.at(static_cast<std::size_t>(layer)); }

 private:
  Index first_position_ = 0;
  std::vector<RowMatrix> before_;  // [L]
  std::vector<RowMatrix> after_;   // [L]
};

/// Writes the gradient [vocab] of a draw's scalar by the logits at a query (0 ... T-1), whose next-token probabilities
/// [vocab] it is given. Called concurrently.
using LogitGradient =
    std::function<void(Index draw, Index query, std::span<const double> probabilities, std::span<float> gradient)>;

/// Of sum_t sum_v xi_tv sqrt(p_tv) log p_tv with sqrt p constant and independent signs xi = +1 or -1, which depend on
/// prompt id, draw, query and token alone:
///   d/d(logit u at t) = xi_tu sqrt(p_tu) - p_tu sum_v xi_tv sqrt(p_tv)
/// Its covariance over the signs is diag(p) - p p^T, the Fisher information of the logits.
LogitGradient random_sign_gradient(std::string_view prompt);
/// The signs of tokens 64 * block ... + 63, a bit each, lowest first: 1 is +1.
std::uint64_t random_signs(std::string_view prompt, Index draw, Index query, Index block);

/// Takes a layer's gradients [R * T, hidden], draw after draw.
using TakeGradients = std::function<void(Index layer, const RowMatrix& gradients)>;

/// Gives the gradients of `draws` scalars by the attention outputs of `layers` (ascending), the last of them first.
/// `states` is of the pass that read the chunk into `cache`, whose last slots are the chunk's and from which nothing
/// was evicted. Throws core::Interrupted between layers.
void attention_output_gradients(const Transformer& model, const KvCache& cache, const StreamStates& states, Index draws,
                                std::span<const Index> layers, const LogitGradient& logit_gradient,
                                const TakeGradients& take);

/// Takes a layer's output_gradients [R, T, hidden].
using TakeStoredGradients = std::function<void(Index layer, trace::Tensor&& gradients)>;

/// What a recording holds: the gradients of random_sign_gradient(), of the prompt's layers and so many draws, as
/// stored_gradients() has them. As attention_output_gradients() otherwise.
void recorded_gradients(const Transformer& model, const KvCache& cache, const StreamStates& states,
                        const trace::PromptInfo& prompt, const TakeStoredGradients& take);

/// Gradients [R * T, hidden] as traces store them: [R, T, hidden] halves times the power of two that brings the largest
/// one to 2^13 ... 2^14. The range of halves leaves elements 2^-27 times as large their full precision.
trace::Tensor stored_gradients(const RowMatrix& gradients, Index draws);

}  // namespace evictlab::runtime
