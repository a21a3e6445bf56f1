#include <utility>

#include "runtime/transformer.hpp"

namespace evictlab::runtime {

trace::ModelInfo model_info(const Transformer& model) { return model_info(model, model.fingerprint()); }

trace::ModelInfo model_info(const Transformer& model, std::string fingerprint) {
  const ModelConfig& config = model.config();
  // "models/demo/" ends in an empty component.
  const std::filesystem::path directory = std::filesystem::absolute(model.directory()).lexically_normal();
  const auto name = directory.has_filename() ? directory.filename() : directory.parent_path().filename();
  return {.name = name.string(),
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
