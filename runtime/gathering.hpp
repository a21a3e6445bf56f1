#pragma once

#include <functional>
#include <vector>

#include "runtime/gradients.hpp"
#include "runtime/observer.hpp"
#include "runtime/transformer.hpp"
#include "trace/model.hpp"

// What policies and judges read of a running model, layer by layer: the same numbers whether they are recorded to a
// trace or looked at while the model runs.
//
// Memory: one layer's rows at a time, never n x n.

namespace evictlab::runtime {

/// Sums softmax rows per position, in double: one vector for each query head.
class MassSums {
 public:
  void reset(Index heads, Index positions);
  /// Different heads may be added to at the same time.
  void add(Index head, const trace::RowMatrixView& rows);
  trace::Tensor tensor() const;  // [H, positions] float

 private:
  std::vector<Eigen::VectorXd> sums_;  // [H] of [positions]
};

/// What is gathered once the future is known; the pass over the prompt gathers the rest, and the window's queries.
inline constexpr trace::Fields kFutureFields = trace::Field::kFutureMass | trace::Field::kOutputNorms |
                                               trace::Fields(trace::Field::kKeys) | trace::Field::kValues |
                                               trace::Field::kQueries | trace::Field::kResidualNorms;

/// Given each layer when it is done, on the calling thread.
using TakeLayer = std::function<void(trace::LayerData&& layer)>;

/// What a pass gathers.
struct GatherOptions {
  trace::Fields fields;
  trace::ElementType dtype = trace::ElementType::kFloat32;  // of queries, keys and values
  StreamStates* stream = nullptr;                           // where there is one, of the future's pass as well
};

/// The pass over a prompt, read as one chunk: window attention, attention mass, query statistics, output norms [H, n],
/// and as queries those of the window [H, w, d], in float.
class PromptGathering : public ForwardObserver {
 public:
  /// `prompt` says which layers are taken and how large the window is. `model` and `prompt` must outlive it;
  /// `progress`, where there is one, is told after every layer which share of them is done.
  PromptGathering(const Transformer& model, const trace::ModelInfo& info, const trace::PromptInfo& prompt,
                  const GatherOptions& options, TakeLayer take, std::function<void(double)> progress = nullptr);

  void on_layer_states(Index layer, const LayerStates& states) override;
  void on_attention(Index layer, Index head, Index first_query, const trace::RowMatrixView& rows) override;
  void on_layer_end(Index layer) override;

 private:
  void take_queries(const LayerStates& states);

  const Transformer& model_;
  const trace::ModelInfo& info_;
  const trace::PromptInfo& prompt_;
  GatherOptions options_;
  TakeLayer take_;
  std::function<void(double)> progress_;
  bool wanted_ = false;  // the layer the pass is in
  trace::LayerData data_;
  MassSums mass_;
};

/// The pass over the future that follows, read as one chunk: future mass, output norms [H, n+T], queries, keys and
/// values, and residual norms.
class FutureGathering : public ForwardObserver {
 public:
  /// `prompt` with its future's length. `window_queries`, where queries are asked for: what PromptGathering gave, of
  /// each layer taken.
  FutureGathering(const Transformer& model, const trace::ModelInfo& info, const trace::PromptInfo& prompt,
                  const GatherOptions& options, std::vector<trace::Tensor> window_queries, TakeLayer take);

  void on_layer_states(Index layer, const LayerStates& states) override;
  void on_attention(Index layer, Index head, Index first_query, const trace::RowMatrixView& rows) override;
  void on_attention_output(Index layer, Index first_query, const RowMatrix& residual, const RowMatrix& output) override;
  void on_layer_end(Index layer) override;

 private:
  trace::Tensor queries(const trace::Tensor& window, const trace::TensorView& future) const;

  const Transformer& model_;
  const trace::ModelInfo& info_;
  const trace::PromptInfo& prompt_;
  GatherOptions options_;
  std::vector<trace::Tensor> window_queries_;
  TakeLayer take_;
  bool wanted_ = false;
  std::size_t taken_ = 0;
  trace::LayerData data_;
  MassSums mass_;
};

/// Output norms of one layer's values: of the first `positions` slots of every head. [H, positions] float
trace::Tensor layer_output_norms(const Transformer& model, const KvCache& cache, Index layer, Index positions);

}  // namespace evictlab::runtime
