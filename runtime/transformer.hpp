#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/kv_cache.hpp"
#include "runtime/model_config.hpp"
#include "runtime/observer.hpp"
#include "trace/model.hpp"

// Design goals: the numbers of Hugging Face transformers in float32; weights mapped and converted as they
// are used; one forward pass for prefill, chunks and decoding, and for every architecture of the table; the
// same result on any number of threads.
// Not goals: training, batches of sequences, accelerators.

namespace evictlab::runtime {

struct LayerWeights;
struct Linear;

/// A decoder-only language model, ready to run. Calls on one object may run concurrently on different caches.
class Transformer {
 public:
  /// Opens a model directory in Hugging Face layout or a GGUF file. Throws core::InputError in one line: an unsupported
  /// architecture or feature, broken files, weights that contradict the configuration.
  explicit Transformer(const std::filesystem::path& model);
  ~Transformer();
  Transformer(Transformer&&) noexcept;
  Transformer& operator=(Transformer&&) noexcept;

  const ModelConfig& config() const;
  const std::filesystem::path& path() const;

  /// Tensors of the checkpoint that are not part of the model that the configuration describes, by their names.
  const std::vector<std::string>& unused_tensors() const;

  /// An empty cache for this model with room for `capacity` positions.
  KvCache make_cache(Index capacity) const;

  /// Reads `tokens` after what the cache holds and appends their keys and values to it. Returns the
  /// logits [vocab] for the token that follows the last one. Throws ModelError for no tokens, an id the
  /// model does not have, a position beyond max_positions, logits that are not finite, and core::Interrupted between
  /// layers; then the cache must not be used any more.
  std::vector<float> forward(std::span<const std::int32_t> tokens, KvCache& cache,
                             ForwardObserver* observer = nullptr) const;
  /// The same with the logits after every token, [tokens, vocab]: teacher forcing.
  trace::RowMatrix forward_all(std::span<const std::int32_t> tokens, KvCache& cache,
                               ForwardObserver* observer = nullptr) const;

  /// W_O of one layer, [H*d, hidden]: y = sum over h of (attention output of head h) * rows h*d ... h*d+d-1.
  /// An expensive copy.
  trace::RowMatrix output_weight(Index layer) const;

  /// The weights as they are stored: of a layer; the last norm's [hidden]; from there to the logits.
  const LayerWeights& layer_weights(Index layer) const;
  std::span<const float> final_norm() const;
  const Linear& output_head() const;

  /// "xxh3-128:<hex>" over all weights; reads every byte of them.
  std::string fingerprint() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// What a trace says of this model; its name is the directory's or the file's. Takes the fingerprint.
trace::ModelInfo model_info(const Transformer& model);
/// The same for a fingerprint that is known, or not asked about.
trace::ModelInfo model_info(const Transformer& model, std::string fingerprint);

}  // namespace evictlab::runtime
