#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/json.hpp"
#include "sim/policy/policy.hpp"

// A fitted policy: which scorer, which protection and which loss-against-count curve every kv head of a model has, as
// `evictlab fit` measured them on recordings. Budgets of all heads follow from the curves for any total and any prompt
// length (LU-KV, arXiv:2602.08585, divides so by curves of attention mass; these are of what the layer's output loses).

namespace evictlab::sim {

/// What the abscissa of a loss curve is: a count of positions, or its share of the visible prompt.
enum class CurveAxis { kCount, kShare };
/// "count", "share".
std::string_view axis_name(CurveAxis axis);

/// What is given as one: each kv head, or all heads of a layer the same count (one padded cache a layer).
enum class FittedUnit { kHead, kLayer };
/// "head", "layer".
std::string_view fitted_unit_name(FittedUnit unit);

/// One kv head.
struct FittedHead {
  std::size_t scorer = 0;  // of FittedPolicy::scorers
  Protection protection = {};
  std::vector<double> losses = {};  // at the points of the curve, never rising; 0 where everything is held
};

/// How the curves were made: what a reader of the file wants to know, and what says where it holds.
struct FitProvenance {
  std::string program = {};
  std::vector<std::string> traces = {};
  std::vector<std::string> documents = {};
  std::vector<std::string> tasks = {};
  std::string unit = {};  // of the losses: "output", "stream", "squared", "fisher", "mass"
  Index shortest = 0;     // prompt positions
  Index longest = 0;
  std::vector<double> slots = {};  // the budgets at which scorers and protection were chosen
  std::vector<double> held_out_loss =
      {};  // at each, mean over documents that did not choose; empty with a single document
  std::vector<double> uniform_loss = {};  // the same with equal budgets
};

struct FittedPolicy {
  std::string digest = {};  // of the file: two policies of the same digest are the same
  std::string model = {};
  std::string model_fingerprint = {};
  std::vector<std::string> scorers = {};    // policies whose scorers they are, "snapkv(window=32,...)"
  std::vector<Index> sliding_windows = {};  // [L] 0: none
  CurveAxis axis = CurveAxis::kCount;
  std::vector<double> points = {};                  // rising, of all curves
  FittedUnit per = FittedUnit::kHead;               // what has a count of its own
  Index block = 1;                                  // counts are multiples of it, but for heads that hold everything
  double uniform_weight = 0.0;                      // 0..1 of equal budgets in what is given
  std::vector<std::vector<FittedHead>> heads = {};  // [L][G]
  FitProvenance provenance = {};

  Index layers() const { return static_cast<Index>(heads.size()); }
  Index kv_heads() const { return heads.empty() ? 0 : static_cast<Index>(heads.front().size()); }
  /// Visible positions of a layer in a prompt of n.
  Index visible(Index layer, Index prompt_length) const;
};

/// The value at `point` of a curve that has `losses` at the rising `points`: linear between them, the first before
/// them, 0 at `end`, from where on points do not count.
template <typename Point, typename Loss>
double interpolated_loss(std::span<const Point> points, std::span<const Loss> losses, double point, double end) {
  const auto above = std::ranges::upper_bound(points, point, {}, [](Point at) { return static_cast<double>(at); });
  const auto index = static_cast<std::size_t>(above - points.begin());
  if (index == 0) return losses.front();
  const auto left = static_cast<double>(points[index - 1]);
  const bool is_last = index == points.size() || static_cast<double>(points[index]) >= end;
  const double right = is_last ? end : static_cast<double>(points[index]);
  const double at_right = is_last ? 0.0 : losses[index];
  if (right <= left) return at_right;
  return losses[index - 1] + (at_right - losses[index - 1]) * (point - left) / (right - left);
}

/// The value at `count` of a curve of `visible` positions: linear between its points, 0 at all positions.
double curve_value(std::span<const double> points, CurveAxis axis, std::span<const double> losses, Index visible,
                   double count);

/// Divides `total` over units with `losses` [units][visible + 1], each at its count, of which a unit gets at least one:
/// the lower convex envelope of the curves, steepest segments first (analysis/allocation.hpp), mixed with equal counts
/// by their weight in 0..1. The sum is the total exactly, or all there is.
std::vector<Index> divided(const std::vector<std::vector<double>>& losses, Index total, double uniform_weight);

/// Budgets [L * G] of a prompt of n positions, when `slots` per kv head are given, averaged over the layers.
std::vector<Index> fitted_budgets(const FittedPolicy& fitted, Index prompt_length, double slots);

/// The visible positions of a head in the order in which it holds them: sinks, recent ones from the last backwards, the
/// rest by falling score, lower positions first. `scores` [n] are finite where nothing protects.
std::vector<std::int32_t> holding_order(std::span<const float> scores, const PositionRanges& ranges);
/// What a scorer says, [G, n]: the mean over query heads where it scores each, the same for all heads where it scores a
/// layer.
trace::RowMatrix kv_head_scores(const Scorer& scorer, const trace::LayerView& layer);

/// The scorer of a policy that a fitted one may be made of. Throws ImpossiblePolicy for a policy without one, that
/// reads the future, or that is fitted itself; PolicyError for one that does not exist.
std::shared_ptr<const Scorer> fittable_scorer(std::string_view policy);

/// The text of policy.json.
std::string fitted_json(const FittedPolicy& fitted);
/// Reads it, but for the digest. Throws the document's error, naming the key, for what is missing, of another type or
/// out of range, and for files of another format or a newer version.
FittedPolicy parse_fitted(const core::JsonDocument& document);

/// The policy; `any_model`: on whatever model has as many layers and kv heads. Throws PolicyError for scorers that
/// cannot be made.
Policy make_fitted(std::shared_ptr<const FittedPolicy> fitted, bool any_model);

}  // namespace evictlab::sim
