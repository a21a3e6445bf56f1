#include "runtime/transformer.hpp"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "core/fixed_blocking.hpp"
#include "core/gguf.hpp"
#include "core/interrupt.hpp"
#include "core/parallel.hpp"
#include "runtime/attention.hpp"
#include "runtime/checkpoint.hpp"
#include "runtime/layer_weights.hpp"
#include "runtime/model_error.hpp"
#include "runtime/rope.hpp"

namespace evictlab::runtime {
namespace {

// The MLP's wide intermediate states exist for this many positions at a time.
constexpr Index kMlpBlock = 1024;

/// One chunk's query heads, head after head: [H * m, d].
class HeadMajor {
 public:
  HeadMajor(Index heads, Index rows, Index columns)
      : rows_(rows), columns_(columns), heads_(heads), data_(heads * rows, columns) {}

  auto head(Index head) { return data_.middleRows(head * rows_, rows_); }
  trace::TensorView tensor() const { return {data_.data(), heads_, rows_, columns_}; }

 private:
  Index rows_;
  Index columns_;
  Index heads_;
  RowMatrix data_;
};

}  // namespace

struct Transformer::Impl {
  explicit Impl(const std::filesystem::path& model) : path(model), config(read_model_config(model)), checkpoint(model) {
    core::use_fixed_blocking();
    const ModuleNames& names = config.modules;
    const WeightLoader loader(checkpoint, config);
    embedding = loader.matrix(names.embedding, config.vocab_size, config.hidden_size);
    for (Index index = 0; index < config.layers; ++index) layers.push_back(loader.layer(index));
    final_norm = loader.norm(names.final_norm, config.hidden_size);
    output_head.weight = config.tie_word_embeddings
                             ? embedding
                             : loader.matrix(names.output_head, config.vocab_size, config.hidden_size);
    sort_out_unused();
  }

  /// What the weights have beyond the configuration: among the layers, running without it would be another model;
  /// elsewhere (a vision tower, a value head) it is not asked for.
  void sort_out_unused() {
    const ModuleNames& names = config.modules;
    const std::string_view layers_prefix = names.attention_norm.substr(0, names.attention_norm.find("{}"));
    for (const std::string& name : checkpoint.unused()) {
      // The configuration has read the first already; files with tied embeddings may hold the second all the same.
      if (name == std::string(names.frequency_divisors) + ".weight") continue;
      if (config.tie_word_embeddings && name == std::string(names.output_head) + ".weight") continue;
      if (name.ends_with(names.ignored_suffix)) continue;
      if (name.starts_with(layers_prefix)) {
        throw ModelError("{}: tensor '{}' has no place in the model that the configuration describes", path.string(),
                         name);
      }
      unused.push_back(name);
    }
  }

  void check(std::span<const std::int32_t> tokens, const KvCache& cache) const;
  RowMatrix embed(std::span<const std::int32_t> tokens) const;
  RowMatrix hidden_states(std::span<const std::int32_t> tokens, KvCache& cache, ForwardObserver* observer) const;
  void attend(Index index, RowMatrix& hidden, const RopeTable& rope, KvCache& cache, ForwardObserver* observer) const;
  void normalize_heads(const std::vector<float>& weight, RowMatrix& heads) const;
  void feed_forward(const LayerWeights& layer, RowMatrix& hidden) const;
  RowMatrix logits(const Eigen::Ref<const RowMatrix>& hidden) const;
  void require_finite(const RowMatrix& numbers, std::string_view what) const;

  std::vector<std::string> unused;
  std::filesystem::path path;
  ModelConfig config;
  Checkpoint checkpoint;
  WeightMatrix embedding;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  std::vector<float> final_norm;  // [hidden]
  Linear output_head;             // hidden -> vocab
};

void Transformer::Impl::check(std::span<const std::int32_t> tokens, const KvCache& cache) const {
  const std::string where = path.string();
  if (tokens.empty()) throw ModelError("{}: no tokens to read", where);
  const Index end = cache.next_position() + static_cast<Index>(tokens.size());
  if (end > config.max_positions) {
    throw ModelError("{}: {} positions asked for, the model has {}", where, end, config.max_positions);
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= config.vocab_size) {
      throw ModelError("{}: token {} at position {}, expected 0..{}", where, tokens[i],
                       cache.next_position() + static_cast<Index>(i), config.vocab_size - 1);
    }
  }
}

RowMatrix Transformer::Impl::embed(std::span<const std::int32_t> tokens) const {
  RowMatrix hidden(static_cast<Index>(tokens.size()), config.hidden_size);
  for (Index row = 0; row < hidden.rows(); ++row) {
    embedding.copy_rows(tokens[static_cast<std::size_t>(row)],
                        {hidden.row(row).data(), static_cast<std::size_t>(hidden.cols())});
  }
  return hidden;
}

void Transformer::Impl::attend(Index index, RowMatrix& hidden, const RopeTable& rope, KvCache& cache,
                               ForwardObserver* observer) const {
  const LayerWeights& layer = layers[static_cast<std::size_t>(index)];
  const Index m = hidden.rows();
  const Index d = config.head_dim;
  const Index first_position = cache.next_position();
  RowMatrix normed(m, config.hidden_size);
  rms_norm(hidden, layer.attention_norm, config.rms_norm_eps, normed);
  RowMatrix raw_queries(m, config.query_heads * d);
  RowMatrix raw_keys(m, config.kv_heads * d);
  RowMatrix raw_values(m, config.kv_heads * d);
  apply(layer.query, normed, raw_queries);
  apply(layer.key, normed, raw_keys);
  apply(layer.value, normed, raw_values);
  normalize_heads(layer.query_norm, raw_queries);
  normalize_heads(layer.key_norm, raw_keys);

  HeadMajor queries(config.query_heads, m, d);
  cache.allocate(index);
  const Index copies = cache.heads(index) / config.kv_heads;  // of a key, where query heads hold their own
  core::parallel_for(static_cast<std::size_t>(config.kv_heads), [&](std::size_t task) {
    const auto g = static_cast<Index>(task);
    for (Index held = g * copies; held < (g + 1) * copies; ++held) {
      KvCache::NewSlots slots = cache.append(index, held, m);
      rotate(raw_keys.middleCols(g * d, d), rope, slots.keys);
      slots.values = raw_values.middleCols(g * d, d);
    }
    for (Index h = g * config.group_size(); h < (g + 1) * config.group_size(); ++h) {
      rotate(raw_queries.middleCols(h * d, d), rope, queries.head(h));
    }
  });

  if (observer != nullptr) {
    HeadMajor raw(config.query_heads, m, d);
    for (Index h = 0; h < config.query_heads; ++h) raw.head(h) = raw_queries.middleCols(h * d, d);
    observer->on_layer_states(index, {first_position, queries.tensor(), raw.tensor(), cache});
  }

  RowMatrix& mixed = raw_queries;  // [m, H*d], no longer needed as queries
  const auto scale = static_cast<float>(config.attention_scale());
  HeadAttentionSink sink;
  if (observer != nullptr) {
    sink = [=](Index head, Index first, const RowMatrixView& probabilities) {
      observer->on_attention(index, head, first_position + first, probabilities);
    };
  }
  cached_attention(queries.tensor(), cache, index, scale, config.sliding_windows[static_cast<std::size_t>(index)],
                   mixed, sink);
  apply(layer.attention_output, mixed, normed);
  if (observer != nullptr) observer->on_attention_output(index, first_position, hidden, normed);
  hidden += normed;
  if (observer == nullptr) return;
  require_finite(hidden, "hidden states");  // what is observed is kept
  observer->on_layer_end(index);
}

/// Root mean square normalisation of every head of `heads` [m, heads * d] on its own, where the model has one.
void Transformer::Impl::normalize_heads(const std::vector<float>& weight, RowMatrix& heads) const {
  if (weight.empty()) return;
  Eigen::Map<RowMatrix> rows(heads.data(), heads.size() / config.head_dim, config.head_dim);
  rms_norm(rows, weight, config.rms_norm_eps, rows);
}

void Transformer::Impl::feed_forward(const LayerWeights& layer, RowMatrix& hidden) const {
  for (Index first = 0; first < hidden.rows(); first += kMlpBlock) {
    const Index rows = std::min(kMlpBlock, hidden.rows() - first);
    auto block = hidden.middleRows(first, rows);
    RowMatrix normed(rows, config.hidden_size);
    rms_norm(block, layer.mlp_norm, config.rms_norm_eps, normed);
    RowMatrix gate(rows, config.intermediate_size);
    RowMatrix up(rows, config.intermediate_size);
    apply(layer.gate, normed, gate);
    apply(layer.up, normed, up);
    gate_with_silu(gate, up);
    apply(layer.down, gate, normed);
    block += normed;
  }
}

RowMatrix Transformer::Impl::hidden_states(std::span<const std::int32_t> tokens, KvCache& cache,
                                           ForwardObserver* observer) const {
  check(tokens, cache);
  RowMatrix hidden = embed(tokens);
  const RopeTable rope = rope_table(config.rope, config.head_dim, cache.next_position(), hidden.rows());
  for (Index index = 0; index < config.layers; ++index) {
    core::throw_if_interrupted();
    attend(index, hidden, rope, cache, observer);
    feed_forward(layers[static_cast<std::size_t>(index)], hidden);
  }
  cache.advance(hidden.rows());
  return hidden;
}

RowMatrix Transformer::Impl::logits(const Eigen::Ref<const RowMatrix>& hidden) const {
  RowMatrix normed(hidden.rows(), hidden.cols());
  rms_norm(hidden, final_norm, config.rms_norm_eps, normed);
  RowMatrix result(hidden.rows(), config.vocab_size);
  apply(output_head, normed, result);
  return result;
}

void Transformer::Impl::require_finite(const RowMatrix& numbers, std::string_view what) const {
  if (numbers.array().isFinite().all()) return;
  throw ModelError("{}: the model's {} are not finite; its weights hold NaN or infinity, or overflow", path.string(),
                   what);
}

Transformer::Transformer(const std::filesystem::path& model) : impl_(std::make_unique<Impl>(model)) {}
Transformer::~Transformer() = default;
const std::vector<std::string>& Transformer::unused_tensors() const { return impl_->unused; }
Transformer::Transformer(Transformer&&) noexcept = default;
Transformer& Transformer::operator=(Transformer&&) noexcept = default;

const ModelConfig& Transformer::config() const { return impl_->config; }
const std::filesystem::path& Transformer::path() const { return impl_->path; }
std::string Transformer::fingerprint() const { return impl_->checkpoint.fingerprint(); }

KvCache Transformer::make_cache(Index capacity) const {
  return {config().layers, config().kv_heads, config().head_dim, capacity};
}

std::vector<float> Transformer::forward(std::span<const std::int32_t> tokens, KvCache& cache,
                                        ForwardObserver* observer) const {
  const RowMatrix last = impl_->logits(impl_->hidden_states(tokens, cache, observer).bottomRows(1));
  impl_->require_finite(last, "logits");
  return {last.data(), last.data() + last.size()};
}

trace::RowMatrix Transformer::forward_all(std::span<const std::int32_t> tokens, KvCache& cache,
                                          ForwardObserver* observer) const {
  RowMatrix all = impl_->logits(impl_->hidden_states(tokens, cache, observer));
  impl_->require_finite(all, "logits");
  return all;
}

trace::RowMatrix Transformer::output_weight(Index layer) const {
  const WeightMatrix& stored = impl_->layers.at(static_cast<std::size_t>(layer)).attention_output.weight;
  RowMatrix weight(stored.rows(), stored.columns());
  stored.copy_rows(0, {weight.data(), static_cast<std::size_t>(weight.size())});
  return weight.transpose();
}

const LayerWeights& Transformer::layer_weights(Index layer) const {
  return impl_->layers.at(static_cast<std::size_t>(layer));
}
std::span<const float> Transformer::final_norm() const { return impl_->final_norm; }
const Linear& Transformer::output_head() const { return impl_->output_head; }

trace::ModelInfo model_info(const Transformer& model) { return model_info(model, model.fingerprint()); }

trace::ModelInfo model_info(const Transformer& model, std::string fingerprint) {
  const ModelConfig& config = model.config();
  // "models/demo/" ends in an empty component.
  const std::filesystem::path path = std::filesystem::absolute(model.path()).lexically_normal();
  const auto last = path.has_filename() ? path.filename() : path.parent_path().filename();
  return {.name = core::is_gguf_path(path) ? core::gguf_name(last) : last.string(),
          .architecture = std::string(config.architecture->name),
          .layers = config.layers,
          .query_heads = config.query_heads,
          .kv_heads = config.kv_heads,
          .head_dim = config.head_dim,
          .hidden_size = config.hidden_size,
          .attention_scale = config.attention_scale(),
          .sliding_windows = config.sliding_windows,
          .position_encoding = describe(config.rope),
          .fingerprint = std::move(fingerprint),
          .cache_element_bytes = config.dtype == "float32" ? 4 : 2};
}

}  // namespace evictlab::runtime
