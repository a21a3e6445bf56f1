#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/checkpoint.hpp"
#include "runtime/linear.hpp"
#include "runtime/model_config.hpp"

namespace evictlab::runtime {

/// A decoder layer's weights.
struct LayerWeights {
  std::vector<float> attention_norm;  // [hidden]
  Linear query;                       // hidden -> H*d
  Linear key;                         // hidden -> G*d
  Linear value;                       // hidden -> G*d
  std::vector<float> query_norm;      // [d], or empty
  std::vector<float> key_norm;        // [d], or empty
  Linear attention_output;            // H*d -> hidden
  std::vector<float> mlp_norm;        // [hidden]
  Linear gate;                        // hidden -> intermediate
  Linear up;                          // hidden -> intermediate
  Linear down;                        // intermediate -> hidden
};

/// Reads a model's modules out of its checkpoint, by the names and switches of its architecture. What it returns refers
/// to the checkpoint's memory.
class WeightLoader {
 public:
  WeightLoader(Checkpoint& checkpoint, const ModelConfig& config) : checkpoint_(checkpoint), config_(config) {}

  LayerWeights layer(Index index) const;
  WeightMatrix matrix(std::string_view module, Index rows, Index columns) const;
  std::vector<float> norm(std::string_view module, Index size) const;

 private:
  Linear linear(const std::string& module, Index in, Index out, bool bias) const;
  void read_query_key_value(Index index, LayerWeights& layer) const;

  Checkpoint& checkpoint_;
  const ModelConfig& config_;
};

}  // namespace evictlab::runtime
