#include "runtime/recorder.hpp"

#include <algorithm>
#include <numeric>

#include "core/random.hpp"
#include "runtime/attention.hpp"
#include "runtime/kv_cache.hpp"
#include "runtime/observer.hpp"

namespace evictlab::runtime {
namespace {

using trace::ElementType;
using trace::Field;
using trace::Index;
using trace::Tensor;

/// The layers to record, ascending.
std::vector<Index> recorded_layers(const ModelConfig& model, const RecordOptions& options) {
  if (!options.layers.empty()) return options.layers;
  std::vector<Index> all(static_cast<std::size_t>(model.layers));
  std::iota(all.begin(), all.end(), Index{0});
  return all;
}

/// Sums softmax rows per position, in double: one vector for each query head.
class MassSums {
 public:
  void reset(Index heads, Index positions) {
    sums_.assign(static_cast<std::size_t>(heads), Eigen::VectorXd::Zero(positions));
  }
  /// Different heads may be added to at the same time.
  void add(Index head, const trace::RowMatrixView& rows) {
    sums_[static_cast<std::size_t>(head)].head(rows.cols()) += rows.cast<double>().colwise().sum().transpose();
  }
  Tensor tensor() const {
    const auto heads = static_cast<Index>(sums_.size());
    Tensor result(ElementType::kFloat32, heads, 1, sums_.front().size());
    for (Index head = 0; head < heads; ++head) {
      const Eigen::VectorXf row = sums_[static_cast<std::size_t>(head)].cast<float>();
      result.set_row(head, 0, {row.data(), static_cast<std::size_t>(row.size())});
    }
    return result;
  }

 private:
  std::vector<Eigen::VectorXd> sums_;  // [H] of [positions]
};

/// Mean [d] and covariance [d, d] (divisor: the count) of one head's queries before position encoding.
void query_statistics(const trace::RowMatrixView& queries, Index head, Tensor& mean, Tensor& covariance) {
  const auto used = queries.bottomRows(queries.rows() - trace::kFirstStatisticsPosition).cast<double>();
  const Eigen::RowVectorXd center = used.colwise().mean();
  const Eigen::MatrixXd centered = used.rowwise() - center;
  const trace::RowMatrix spread =
      ((centered.transpose() * centered) / static_cast<double>(centered.rows())).cast<float>();
  const Eigen::RowVectorXf center_float = center.cast<float>();
  const auto columns = static_cast<std::size_t>(queries.cols());
  mean.set_row(head, 0, {center_float.data(), columns});
  for (Index row = 0; row < spread.rows(); ++row) covariance.set_row(head, row, {spread.row(row).data(), columns});
}

/// What both passes share: where fields go, and telling how far the pass has come.
class Recording : public ForwardObserver {
 public:
  Recording(const Transformer& model, const RecordOptions& options, const trace::PromptInfo& info,
            trace::PromptWriter& writer)
      : model_(model), config_(model.config()), options_(options), info_(info), writer_(writer) {}

 protected:
  bool wanted(Index layer) const { return std::binary_search(info_.layers.begin(), info_.layers.end(), layer); }
  bool full() const { return options_.tier == trace::Tier::kFull; }
  std::size_t slot(Index layer) const {
    return static_cast<std::size_t>(std::lower_bound(info_.layers.begin(), info_.layers.end(), layer) -
                                    info_.layers.begin());
  }

  const Transformer& model_;
  const ModelConfig& config_;
  const RecordOptions& options_;
  const trace::PromptInfo& info_;
  trace::PromptWriter& writer_;
};

/// The prompt's pass: window rows, attention mass, query statistics; keeps the window's queries.
class PromptRecording : public Recording {
 public:
  PromptRecording(const Transformer& model, const RecordOptions& options, const trace::PromptInfo& info,
                  trace::PromptWriter& writer, const std::function<void(double)>& progress)
      : Recording(model, options, info, writer), window_queries_(info.layers.size()), progress_(progress) {}

  /// [H, w, d] of each recorded layer, in the order of PromptInfo::layers; full tier only.
  std::vector<Tensor>& window_queries() { return window_queries_; }

  void on_layer_states(Index layer, const LayerStates& states) override {
    if (!wanted(layer)) return;
    const Index n = info_.prompt_length;
    const Index heads = config_.query_heads;
    mass_.reset(heads, n);
    window_ = Tensor(ElementType::kFloat16, heads, info_.window, n, trace::kWindowAttentionScale);
    if (!full()) return;
    Tensor& kept = window_queries_[slot(layer)] = Tensor(ElementType::kFloat32, heads, info_.window, config_.head_dim);
    Tensor mean(ElementType::kFloat32, heads, 1, config_.head_dim);
    Tensor covariance(ElementType::kFloat32, heads, config_.head_dim, config_.head_dim);
    for (Index head = 0; head < heads; ++head) {
      const trace::RowMatrix queries = states.queries.row_range(n - info_.window, info_.window).copy_head(head);
      for (Index row = 0; row < info_.window; ++row) {
        kept.set_row(head, row, {queries.row(row).data(), static_cast<std::size_t>(config_.head_dim)});
      }
      const trace::RowMatrix raw = states.raw_queries.copy_head(head);
      query_statistics({raw.data(), raw.rows(), raw.cols(), Eigen::OuterStride<>(raw.cols())}, head, mean, covariance);
    }
    writer_.write(layer, Field::kQueryMean, mean);
    writer_.write(layer, Field::kQueryCovariance, covariance);
    writer_.set_query_count(layer, n - trace::kFirstStatisticsPosition);
  }

  void on_attention(Index layer, Index head, Index first_query, const trace::RowMatrixView& rows) override {
    if (!wanted(layer)) return;
    mass_.add(head, rows);
    const Index first_window = info_.prompt_length - info_.window;
    std::vector<float> padded(static_cast<std::size_t>(info_.prompt_length));
    for (Index row = std::max(Index{0}, first_window - first_query); row < rows.rows(); ++row) {
      std::fill(std::copy_n(rows.row(row).data(), rows.cols(), padded.begin()), padded.end(), 0.0F);
      window_.set_row(head, first_query + row - first_window, padded);
    }
  }

  void on_layer_end(Index layer) override {
    if (wanted(layer)) {
      writer_.write(layer, Field::kWindowAttention, window_);
      writer_.write(layer, Field::kAttentionMass, mass_.tensor());
    }
    progress_(static_cast<double>(layer + 1) / static_cast<double>(config_.layers));
  }

 private:
  MassSums mass_;
  Tensor window_;
  std::vector<Tensor> window_queries_;
  const std::function<void(double)>& progress_;
};

/// The future's pass: future mass, output norms, and in the full tier queries, keys and values.
class FutureRecording : public Recording {
 public:
  FutureRecording(const Transformer& model, const RecordOptions& options, const trace::PromptInfo& info,
                  Index future_length, trace::PromptWriter& writer, std::vector<Tensor> window_queries)
      : Recording(model, options, info, writer),
        positions_(info.prompt_length + future_length),
        window_queries_(std::move(window_queries)) {}

  void on_layer_states(Index layer, const LayerStates& states) override {
    if (!wanted(layer)) return;
    mass_.reset(config_.query_heads, positions_);
    writer_.write(layer, Field::kOutputNorms, norms(layer, states));
    if (!full()) return;
    writer_.write(layer, Field::kQueries, queries(window_queries_[slot(layer)], states.queries));
    writer_.write(layer, Field::kKeys, stored(states.cache.layer_keys(layer)));
    writer_.write(layer, Field::kValues, stored(states.cache.layer_values(layer)));
  }

  void on_attention(Index layer, Index head, Index /*first_query*/, const trace::RowMatrixView& rows) override {
    if (wanted(layer)) mass_.add(head, rows);
  }

  void on_layer_end(Index layer) override {
    if (wanted(layer)) writer_.write(layer, Field::kFutureMass, mass_.tensor());
  }

 private:
  Tensor norms(Index layer, const LayerStates& states) const {
    const trace::RowMatrix weight = model_.output_weight(layer);  // [H*d, hidden]
    Tensor result(ElementType::kFloat32, config_.query_heads, 1, positions_);
    for (Index head = 0; head < config_.query_heads; ++head) {
      const trace::RowMatrixView head_weight(weight.row(head * config_.head_dim).data(), config_.head_dim,
                                             weight.cols(), Eigen::OuterStride<>(weight.cols()));
      result.set_row(head, 0, output_norms(states.cache.values(layer, head / config_.group_size()), head_weight));
    }
    return result;
  }

  /// The window's queries followed by the future's, [H, w+T, d].
  Tensor queries(const Tensor& window, const trace::TensorView& future) const {
    Tensor result(options_.dtype, window.heads(), window.rows() + future.rows(), window.columns());
    std::vector<float> row(static_cast<std::size_t>(window.columns()));
    for (Index head = 0; head < window.heads(); ++head) {
      for (Index i = 0; i < result.rows(); ++i) {
        if (i < window.rows()) {
          window.view().copy_row(head, i, row);
        } else {
          future.copy_row(head, i - window.rows(), row);
        }
        result.set_row(head, i, row);
      }
    }
    return result;
  }

  Tensor stored(const trace::TensorView& states) const {
    Tensor result(options_.dtype, states.heads(), states.rows(), states.columns());
    std::vector<float> row(static_cast<std::size_t>(states.columns()));
    for (Index head = 0; head < states.heads(); ++head) {
      for (Index i = 0; i < states.rows(); ++i) {
        states.copy_row(head, i, row);
        result.set_row(head, i, row);
      }
    }
    return result;
  }

  Index positions_;  // n+T
  MassSums mass_;
  std::vector<Tensor> window_queries_;
};

/// Up to `count` tokens that follow. The query at a token that ends the text predicts nothing: such a token
/// is left out, unless there would be no future at all.
std::vector<std::int32_t> generate_future(const Transformer& model, KvCache& cache, std::vector<float> logits,
                                          const TokenizedPrompt& prompt, SamplingOptions sampling) {
  sampling.seed ^= core::text_hash(prompt.id);  // so that other prompts do not matter
  Sampler sampler(sampling);
  std::vector<std::int32_t> tokens =
      generate(model, cache, std::move(logits), static_cast<std::size_t>(prompt.generate), sampler);
  const std::vector<std::int32_t>& ends = model.config().eos_token_ids;
  const bool ended = std::find(ends.begin(), ends.end(), tokens.back()) != ends.end();
  if (ended && tokens.size() + prompt.future.size() > 1) tokens.pop_back();
  return tokens;
}

}  // namespace

void check_recordable(const TokenizedPrompt& prompt, const ModelConfig& model, const RecordOptions& options) {
  const auto n = static_cast<Index>(prompt.tokens.size());
  const auto future = static_cast<Index>(prompt.future.size()) + prompt.generate;
  if (n < options.window) {
    throw RecordError(
        "prompt '{}' ({}): has {} positions, fewer than the observation window of {}; give --window {} or a "
        "longer prompt",
        prompt.id, prompt.source, n, options.window, n);
  }
  if (options.tier == trace::Tier::kFull && n <= trace::kFirstStatisticsPosition) {
    throw RecordError("prompt '{}' ({}): has {} positions; the full tier needs more than {}", prompt.id, prompt.source,
                      n, trace::kFirstStatisticsPosition);
  }
  if (future < 1) throw RecordError("prompt '{}' ({}): has no future; its answer is empty", prompt.id, prompt.source);
  if (n + future > model.max_positions) {
    throw RecordError(
        "prompt '{}' ({}): {} positions and {} future ones exceed the model's {}; --max-positions {} cuts "
        "the middle",
        prompt.id, prompt.source, n, future, model.max_positions, std::max(Index{1}, model.max_positions - future));
  }
  for (const auto* tokens : {&prompt.tokens, &prompt.future}) {
    for (const std::int32_t token : *tokens) {
      if (token < 0 || token >= model.vocab_size) {
        throw RecordError("prompt '{}' ({}): token id {} is not in the model's vocabulary of {}", prompt.id,
                          prompt.source, token, model.vocab_size);
      }
    }
  }
}

trace::PromptInfo recorded_info(const TokenizedPrompt& prompt, const ModelConfig& model, const RecordOptions& options) {
  const bool generated = prompt.generate > 0;
  return {.id = prompt.id,
          .task = prompt.task,
          .source = prompt.source,
          .prompt_length = static_cast<Index>(prompt.tokens.size()),
          .future_length = generated ? 0 : static_cast<Index>(prompt.future.size()),
          .future_kind = generated ? "generated" : "teacher-forced",
          .tier = options.tier,
          .window = options.window,
          .layers = recorded_layers(model, options),
          .spans = prompt.spans};
}

std::vector<std::int32_t> recorded_tokens(const TokenizedPrompt& prompt) {
  std::vector<std::int32_t> tokens = prompt.tokens;
  if (prompt.generate == 0) tokens.insert(tokens.end(), prompt.future.begin(), prompt.future.end());
  return tokens;
}

void record_prompt(const Transformer& model, const TokenizedPrompt& prompt, const RecordOptions& options,
                   trace::TraceWriter& writer, const std::function<void(double)>& progress) {
  check_recordable(prompt, model.config(), options);
  const auto n = static_cast<Index>(prompt.tokens.size());
  const trace::PromptInfo info = recorded_info(prompt, model.config(), options);
  trace::PromptWriter prompt_writer = writer.begin_prompt(info, recorded_tokens(prompt));
  KvCache cache = model.make_cache(n + static_cast<Index>(prompt.future.size()) + prompt.generate);

  PromptRecording prompt_pass(model, options, info, prompt_writer, progress);
  std::vector<float> logits = model.forward(prompt.tokens, cache, &prompt_pass);

  std::vector<std::int32_t> future = prompt.future;
  if (prompt.generate > 0) {
    if (!future.empty()) logits = model.forward(future, cache, nullptr);
    const std::vector<std::int32_t> generated =
        generate_future(model, cache, std::move(logits), prompt, options.sampling);
    future.insert(future.end(), generated.begin(), generated.end());
    prompt_writer.set_future(future);
  }

  // Generated or given, the future is read as one chunk from the end of the prompt: one way to record it.
  cache.truncate(n);
  FutureRecording future_pass(model, options, info, static_cast<Index>(future.size()), prompt_writer,
                              std::move(prompt_pass.window_queries()));
  model.forward(future, cache, &future_pass);
  prompt_writer.finish();
}

RecordEstimate estimate_recording(const std::vector<TokenizedPrompt>& prompts, const ModelConfig& model,
                                  const RecordOptions& options) {
  const auto heads = static_cast<double>(model.query_heads);
  const auto kv_heads = static_cast<double>(model.kv_heads);
  const auto dimension = static_cast<double>(model.head_dim);
  const auto window = static_cast<double>(options.window);
  const auto layers = static_cast<double>(recorded_layers(model, options).size());
  const double state_bytes = options.dtype == ElementType::kFloat16 ? 2 : 4;
  const bool full = options.tier == trace::Tier::kFull;
  RecordEstimate estimate;
  for (const TokenizedPrompt& prompt : prompts) {
    const auto n = static_cast<double>(prompt.tokens.size());
    const auto all = n + static_cast<double>(prompt.future.size()) + static_cast<double>(prompt.generate);
    const double summary = heads * (2 * window * n + 4 * n + 8 * all);
    const double states = state_bytes * (heads * (window + all - n) * dimension + 2 * kv_heads * all * dimension) +
                          4 * heads * dimension * (dimension + 1);
    estimate.trace_bytes += layers * (full ? summary + states : summary) + 4 * all;

    // The model's float cache, one layer's hidden states and rows, and the window's queries of every layer.
    const double cache = static_cast<double>(model.layers) * 2 * kv_heads * all * dimension * 4;
    const double hidden = 4 * n *
                          (4 * static_cast<double>(model.hidden_size) + static_cast<double>(model.intermediate_size) +
                           2 * (heads + 2 * kv_heads) * dimension);
    const double buffers = summary + (full ? states + layers * heads * window * dimension * 4 : 0);
    estimate.memory_bytes = std::max(estimate.memory_bytes, cache + hidden + buffers);
  }
  if (full) {
    estimate.trace_bytes += 4 * layers * heads * dimension * static_cast<double>(model.hidden_size);
  }
  return estimate;
}

}  // namespace evictlab::runtime
