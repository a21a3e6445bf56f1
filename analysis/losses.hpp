#pragma once

#include <Eigen/Core>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "analysis/fisher.hpp"
#include "analysis/output_projection.hpp"
#include "analysis/summary_losses.hpp"
#include "trace/layer.hpp"

// Losses of a layer whose cache holds only some prompt positions. One future query q, attention A_h
// of query head h over all visible positions, u_hj = value_j * W_O^(h), y = sum over h and j of A_hj u_hj.
// K is what head h still holds: the kept prompt positions and every future position up to the query's own.
// m_h = sum over K of A_hj is its retained mass; the kept weights renormalise to 1:
//
//   y^ = sum_h sum_{j in K} (A_hj / m_h) u_hj
//
// and, averaged over the T future queries (Ada-KV: Feng et al. 2024, arXiv:2407.11550, Theorem 3.1 is the
// last of them; the others follow from its proof by the triangle inequality, applied later):
//
//   exact loss        ||y - y^||_1
//   <= value-aware    sum_h [ sum_{j not in K} A_hj ||u_hj||_1 + (1-m_h)/m_h sum_{j in K} A_hj ||u_hj||_1 ]
//   <= kept-max       sum_h [ sum_{j not in K} A_hj ||u_hj||_1 + (1-m_h) max_{j in K} ||u_hj||_1 ]
//   <= per-head       sum_h 2 C_h (1-m_h),   C_h = max_j ||u_hj||_1 over positions 0..n+T-1
//   <= Ada-KV         2 C sum_h (1-m_h),     C = max_h C_h
//
// The squared error is ||y - y^||_2^2, averaged alike.
//
// The last three bounds are linear in A, so the recorded mass (a sum over the future queries) is all they need.
// The order holds to rounding for float32 traces (1e-4 of the larger one). In float16 traces A is recomputed
// from rounded queries and keys while the mass was recorded before rounding: there it holds to 2 % of the
// larger one.

namespace evictlab::analysis {

/// What one future query loses.
struct QueryLoss {
  float squared_error = 0;    // ||y - y^||_2^2
  float output_relative = 0;  // the same divided by ||y||_2^2; 0 where y is 0
};

/// Losses of the layer's output itself.
struct OutputLosses {
  double value_bound = 0;    // L1, mean over the future queries
  double exact_loss = 0;     // L1, mean over the future queries
  double relative_loss = 0;  // sum over queries ||y - y^||_1 / sum ||y||_1; 0 if y is 0 throughout
  double squared_error = 0;  // squared L2, mean over the future queries
  /// The same with each query's divided by ||y||_2^2; queries whose y is 0 lose 0.
  double output_relative_squared_error = 0;
  /// [T] ||y - y^||_2 / ||h + y||_2 of each future query, h being the residual stream that y is added to. Empty where
  /// its norms are not recorded.
  std::vector<float> stream_relative_errors;
  std::vector<QueryLoss> by_query;  // [T]
  /// None without recorded gradients.
  std::optional<FisherLoss> fisher;

  /// Mean of their squares; none without them.
  std::optional<double> stream_relative_squared_error() const;
};

/// Mean of the largest tenth of the values, of one at least; 0 of none.
double mean_of_largest_tenth(std::vector<float> values);

/// What one head holds in each of several runs: `always`, and of `ranked` the first counts[r] in run r. All are
/// different visible prompt positions; counts are at most ranked.size(), in any order.
struct NestedSets {
  std::span<const std::int32_t> always;
  std::span<const std::int32_t> ranked;
  std::span<const trace::Index> counts;  // [runs]
};

/// What a query's squared error is divided by: nothing, ||y||_2^2 of the layer's output, or ||h + y||_2^2 of the
/// residual stream that the output is added to; kFisher: FisherLoss::loss in its place.
enum class ErrorUnit { kSquared, kOutput, kStream, kFisher };

/// W W^T [H/G * d, H/G * d] of the rows W of W_O that the query heads of kv head `kv_head` have: ||x W||_2^2 = x W W^T
/// x^T, whatever the hidden size.
Eigen::MatrixXf output_gram(const trace::LayerShape& shape, const trace::RowMatrix& output_weight,
                            trace::Index kv_head);

/// The time for which every query head holds each position: H spans of [n + T]. Query t finds position j while
/// t < until[j], and a position j >= n only from t = j - n on. 0: not kept after the prompt; T: never evicted. Heads
/// that share a set repeat the span.
struct HoldingTimes {
  std::vector<std::span<const std::int32_t>> until;
};

/// All measures of one retention that changes from query to query. The bounds' averages are taken query by query, since
/// what is held differs; the order of the measures is the same.
struct DecodingLosses {
  SummaryLosses summary;
  OutputLosses output;
};

/// Compares one layer's attention outputs of any number of kept sets with those of the full cache, which it recomputes
/// once from the recorded queries, keys and values (full tier). All policies and budgets share the rows A_h and what
/// follows from them.
///
/// Per head and query, with v'_j = (v_j, 1, ||u_j||_1) in R^(d+2), S_X = sum over X of A_j v'_j is numerator, mass and
/// weighted sum at once. What y^ misses is, before W_O, with E the evicted positions and e, m the masses of E and K,
///
///   delta_h = S_E - (e/m) S_K,   S_E = S_all - S_K,   y - y^ = sum_h delta_h W_O^(h)
///
/// What that costs at T queries, N = n + T positions, hidden size D:
///
///   once a layer             2 H T N d (rows) + 2 H T N (d+2) (S_all) + 2 T H d D (y) operations, 4 H T N bytes
///   a ranking                2 H T c (d+2) in double for a walk to its largest count c, S_K being a running sum
///   a run of its own         2 T H d D in float: exact loss and squared error, the Gram matrix of W_O would save half
///                            of the latter alone; and 4 T H d bytes
///
/// The value-aware bound needs the masses alone. Per run the projection is all that is left: an L1 norm after W_O is
/// not linear in anything that runs share, and the runs' delta_h have full rank.
class OutputReference {
 public:
  /// Reads future.queries [H, T, d], keys, values [G, n+T, d] and output_norms [H, n+T]; the stored norms
  /// serve the value-aware bound, since recomputing them costs more than all else. `output_weight` is
  /// W_O [H*d, hidden], of which it keeps a copy; residual_norms [3, T] and output_gradients [R, T, hidden] where there
  /// are any. Throws std::invalid_argument when shapes contradict.
  OutputReference(const trace::LayerShape& shape, const trace::FutureView& future,
                  const trace::RowMatrix& output_weight);

  /// Thread-safe. Throws std::invalid_argument when `kept` is no set of H such spans.
  OutputLosses losses(const KeptSets& kept) const;
  /// Of every run, in the order of the counts; `heads` [H] have as many counts each. A run's result does not depend on
  /// which others are asked for. Thread-safe. Throws std::invalid_argument when they do not fit together.
  std::vector<OutputLosses> losses(std::span<const NestedSets> heads) const;
  /// What the layer loses where the query heads of one kv head hold `sets` and all others hold everything: the error in
  /// a unit, mean over the future queries, for each of the rising counts. `gram` is output_gram() of that head, which
  /// kFisher does not read. Costs 2 H/G T c (d+2) for a walk to the largest count c, and 2 T (H/G d)^2 a count, or
  /// 2 R T H/G d in kFisher. Thread-safe. Throws std::invalid_argument when counts fall or the unit needs norms of the
  /// stream or gradients that are not recorded.
  std::vector<double> head_losses(trace::Index kv_head, const NestedSets& sets, const Eigen::MatrixXf& gram,
                                  ErrorUnit unit) const;
  /// The same where positions leave between queries. Costs about 4 T (n + T) d operations a head. Thread-safe. Throws
  /// std::invalid_argument when `until` is no H such spans.
  DecodingLosses losses(const HoldingTimes& until) const;
  /// [T, n+T]: what the future queries pay every position, summed over query heads [first, first + count).
  trace::RowMatrix attention(trace::Index first, trace::Index count) const;

 private:
  // Rows that fill the last tile up are zero: they hold nothing and lose nothing.
  struct Head {
    Eigen::MatrixXf attention;     // [T padded, visible], softmax rows; column-major: a position is contiguous
    Eigen::VectorXd output_norms;  // [visible]
    Eigen::MatrixXd future;        // [T padded, d+2 padded]: S of the future positions
    Eigen::MatrixXd all;           // the same of all positions
  };
  class Walk;
  struct Held;

  trace::Index padded_width() const;
  trace::Index padded() const { return TiledRows::padded(shape_.future_length); }
  Held held(const Head& head, std::span<const std::int32_t> until) const;
  /// Writes a head's delta; returns its value-aware bound, summed over the queries.
  double write_difference(trace::Index head, const Eigen::MatrixXd& lost, const Eigen::MatrixXd& held,
                          TiledRows& rows) const;
  OutputLosses output_losses(double value_bound, const MatrixNorms& norms, const TiledRows& difference) const;

  trace::LayerShape shape_;
  trace::Index first_ = 0;                // the first visible position: column 0 of `attention`
  std::vector<Head> heads_;               // [H]
  std::vector<trace::RowMatrix> values_;  // [G] of [visible, d]
  OutputProjection projection_;
  double output_norm_ = 0;              // sum over queries ||y||_1
  std::vector<double> output_squares_;  // [T] ||y||_2^2
  std::vector<double> stream_squares_;  // [T] ||h + y||_2^2; empty where it is not recorded
  std::optional<HeadGradients> gradients_;
};

}  // namespace evictlab::analysis
