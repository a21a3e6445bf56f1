#pragma once

#include <string>
#include <vector>

#include "core/json.hpp"
#include "trace/tensor.hpp"

namespace evictlab::runtime {

using trace::Index;

/// Rotary position encoding: pairs (i, i + d/2) of a query or key turn by position * frequency_i. How the types change
/// frequency_i = theta^(-2i/d) is said at rope_frequencies().
struct RopeConfig {
  enum class Type { kDefault, kLinear, kDynamic, kLlama3, kYarn };
  Type type = Type::kDefault;
  double theta = 10000.0;
  double factor = 1.0;           // of all types but kDefault
  Index original_positions = 0;  // those the model was trained for; kDynamic, kLlama3, kYarn
  // kLlama3
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  // kYarn
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  bool truncate = true;           // the range of frequencies that are mixed begins and ends at whole numbers
  double attention_factor = 1.0;  // cos and sin, so queries and keys, are multiplied by it
  /// [d/2] Each frequency is divided by its own, whatever the type: how GGUF files say kLlama3. Empty = by none.
  std::vector<float> frequency_divisors = {};
};

/// "rope(theta=10000)", "rope(theta=500000,type=llama3,factor=8,...)": as traces store it.
std::string describe(const RopeConfig& rope);

/// The rotary parameters of a config.json, in either notation: rope_theta with rope_scaling, or rope_parameters.
/// `max_positions` is its max_position_embeddings. Throws ModelError: an unknown type is named with those known.
RopeConfig read_rope_config(const core::JsonNode& keys, Index max_positions);

/// How many positions a model with max_position_embeddings = `max_positions` reads: linear and dynamic scaling multiply
/// them by their factor, YaRN the original ones; the other types leave them as they are.
Index stretched_positions(const RopeConfig& rope, Index max_positions);

}  // namespace evictlab::runtime
