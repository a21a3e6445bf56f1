#pragma once

#include <span>
#include <string>
#include <string_view>

#include <Eigen/Core>

#include "core/gguf_metadata.hpp"
#include "core/json.hpp"

namespace evictlab::runtime {

/// Which layers see only the last positions.
enum class SlidingWindowRule {
  kNever,         // config.json is not asked
  kEveryLayer,    // all, where config.json gives a sliding_window
  kChosenLayers,  // where use_sliding_window says so, those of layer_types or from max_window_layers on
};

/// The names of a checkpoint's modules. "{}" stands for the layer; a weight is module + ".weight", a bias
/// module + ".bias".
struct ModuleNames {
  std::string_view embedding;
  std::string_view final_norm;
  std::string_view output_head;  // absent from checkpoints with tied embeddings
  std::string_view attention_norm;
  std::string_view query;
  std::string_view key;
  std::string_view value;
  /// Query, key and value in one matrix instead of three: for each kv head, the rows of its query heads, of its key, of
  /// its value. Empty = three.
  std::string_view packed_query_key_value;
  /// RMS norms over each head's query and key, before the position encoding. Empty = none.
  std::string_view query_norm;
  std::string_view key_norm;
  std::string_view attention_output;
  std::string_view mlp_norm;
  std::string_view gate;
  std::string_view up;
  std::string_view down;
  /// What the rotary frequencies are divided by, [d/2], where a checkpoint has it. Empty = it never does.
  std::string_view frequency_divisors;
  /// Ends of names that older checkpoints hold and that the configuration already determines.
  std::string_view ignored_suffix;
};

/// What tells one decoder architecture from another: the names of its modules in a checkpoint and its
/// switches. The forward pass is the same for all rows of the table: pre-norm blocks of grouped-query
/// attention with rotary positions and a gated MLP.
struct Architecture {
  std::string_view name;  // as config.json's "architectures" has it
  ModuleNames modules;    // in Hugging Face layout
  /// general.architecture of GGUF files, whose modules have the same names for all (gguf_modules()).
  std::string_view gguf_name;
  /// GGUF files store the elements of a query or key head that turn together next to each other, not half a head apart.
  bool gguf_adjacent_pairs = false;
  /// The key of config.json that says whether query, key, value and output have biases. Empty = they have none.
  std::string_view attention_bias_key;
  std::string_view mlp_bias_key;  // the same for gate, up and down
  /// Query, key and value have biases whatever config.json says.
  bool always_query_key_value_bias = false;
  SlidingWindowRule sliding_window = SlidingWindowRule::kNever;
  /// Where config.json does not say it; 0 = hidden_size / num_attention_heads.
  Eigen::Index default_head_dim = 0;
};

/// Every architecture the runtime knows.
std::span<const Architecture> architectures();

/// The row of the architecture that a config.json names. Fails for one that is not known, naming those that are.
const Architecture& find_architecture(const core::JsonNode& name);
/// The same for general.architecture of a GGUF file.
const Architecture& find_gguf_architecture(const core::GgufValue& name);

/// The names of an architecture's modules in GGUF files.
ModuleNames gguf_modules(const Architecture& architecture);

/// A module's name in a given layer.
std::string module_name(std::string_view pattern, Eigen::Index layer);

}  // namespace evictlab::runtime
