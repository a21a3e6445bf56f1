#pragma once

#include <Eigen/Core>

#include <optional>
#include <span>
#include <vector>

#include "analysis/output_projection.hpp"
#include "trace/layer.hpp"

// KL divergence, to second order, of the next-token distributions that a change of attention outputs makes.
//
// Let p_t be the full cache's distribution after future query t, and Delta_lt [hidden] what the attention output of
// layer l at query t loses. With B_t = diag(sqrt p_t) - p_t sqrt(p_t)^T, B_t B_t^T = diag(p_t) - p_t p_t^T is the
// Fisher information of the logits, so for independent random signs xi and the gradients
//
//   g_rlt = d/dy_lt  sum_t sum_v xi_rtv sqrt(p_tv) log p_tv     (sqrt p constant)
//
// the mean over draws r of (sum_l sum_t <g_rlt, Delta_lt>)^2 / 2 is the sum over queries of KL(p_t || p^_t) to second
// order (Martens 2020, arXiv:1412.1193, section 9, has the Fisher information as this quadratic form).

namespace evictlab::analysis {

/// One layer's part of it, nats.
struct FisherLoss {
  /// 1/(2T) sum_t mean_r <g_rt, Delta_t>^2: queries, and other layers, taken apart.
  double loss = 0;
  std::vector<double> sums;  // [R] sum over queries <g_rt, Delta_t>
};

/// A mean over draws and its standard error, which a single draw does not have.
struct FisherKl {
  double kl = 0;
  std::optional<double> error;
};
/// 1/(2T) mean_r s_r^2, s_r being the sums over all layers of FisherLoss::sums.
FisherKl fisher_kl(std::span<const double> sums, trace::Index queries);

/// The gradients of a layer by its heads' outputs before W_O. The products <g_rt, Delta_t> are linear in these outputs,
///
///   Delta_t = sum_h delta_ht W_O^(h),   <g_rt, Delta_t> = sum_h <W_O^(h) g_rt, delta_ht>
///
/// so once R T hidden H d operations are spent here, a run costs R T H d, and no projection.
class HeadGradients {
 public:
  /// `gradients` [R, T, hidden], `output_weight` W_O [H*d, hidden]. Throws std::invalid_argument when shapes
  /// contradict.
  HeadGradients(const trace::LayerShape& shape, const trace::TensorView& gradients,
                const trace::RowMatrix& output_weight);

  /// Of differences delta [T, H*d]. The result does not depend on threads. Thread-safe.
  FisherLoss loss(const TiledRows& differences) const;
  /// FisherLoss::loss where the query heads of one kv head alone lose `differences` [T, H/G * d]. Thread-safe.
  double head_loss(trace::Index kv_head, const Eigen::Ref<const trace::RowMatrix>& differences) const;

 private:
  trace::Index queries_;
  std::vector<TiledRows> projected_;  // [R] of [T, H*d]
};

}  // namespace evictlab::analysis
