#pragma once

#include <span>
#include <string>
#include <string_view>

#include <Eigen/Core>

namespace evictlab::runtime {

/// Where an architecture's attention has biases.
enum class AttentionBias {
  kAsConfigured,   // on query, key, value and output where config.json's attention_bias says so
  kQueryKeyValue,  // always on query, key and value, never on output; config.json does not say
};

/// What tells one decoder architecture from another: the names of its modules in a checkpoint and its
/// switches. The forward pass is the same for all rows of the table: pre-norm blocks of grouped-query
/// attention with rotary positions and a gated MLP. "{}" stands for the layer; a weight is module + ".weight", a bias
/// module + ".bias".
struct Architecture {
  std::string_view name;  // as config.json's "architectures" has it
  std::string_view embedding;
  std::string_view final_norm;
  std::string_view output_head;  // absent from checkpoints with tied embeddings
  std::string_view attention_norm;
  std::string_view query;
  std::string_view key;
  std::string_view value;
  std::string_view attention_output;
  std::string_view mlp_norm;
  std::string_view gate;
  std::string_view up;
  std::string_view down;
  /// Ends of names that older checkpoints hold and that the configuration already determines.
  std::string_view ignored_suffix;
  AttentionBias attention_bias = AttentionBias::kAsConfigured;
};

/// Every architecture the runtime knows.
std::span<const Architecture> architectures();

/// The row of that name. Throws ModelError naming the architecture and those known; `where` names the file.
const Architecture& find_architecture(std::string_view name, std::string_view where);

/// A module's name in a given layer.
std::string module_name(std::string_view pattern, Eigen::Index layer);

}  // namespace evictlab::runtime
