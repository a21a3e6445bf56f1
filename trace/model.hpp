#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "trace/layer.hpp"

namespace evictlab::trace {

/// A trace cannot be read, written or used.
class TraceError : public core::InputError {
 public:
  using core::InputError::InputError;
};

/// Describes the recorded model as far as reading its layers needs it; running it needs more.
struct ModelInfo {
  std::string name;          // the directory or a title
  std::string architecture;  // "LlamaForCausalLM"
  Index layers = 0;          // L
  Index query_heads = 0;     // H
  Index kv_heads = 0;        // G
  Index head_dim = 0;        // d
  Index hidden_size = 0;
  double attention_scale = 0.0;
  std::vector<Index> sliding_windows;  // [L]; 0 = sees every position
  std::string position_encoding;       // "rope(theta=10000)", "rope(theta=500000,type=llama3,...)", "none"
  std::string fingerprint;             // of the weights: "xxh3-128:<hex>"
  Index cache_element_bytes = 2;       // bytes of one stored key or value element when the model is served

  /// Bytes of one slot: a key and a value of one kv head.
  Index slot_bytes() const { return 2 * head_dim * cache_element_bytes; }
};

/// A named range of prompt positions [begin, end): instruction, context, question, needle, answer, ...
struct Span {
  std::string name;
  Index begin = 0;
  Index end = 0;
  friend bool operator==(const Span&, const Span&) = default;
};

struct PromptInfo {
  std::string id;
  std::string task;         // "needle", ...; may be empty
  std::string source;       // where the prompt came from: a file, "synthetic(seed=1)"
  Index prompt_length = 0;  // n
  Index future_length = 0;  // T
  std::string future_kind;  // "generated" or "teacher-forced"
  Tier tier = Tier::kSummary;
  Index window = 0;           // w
  std::vector<Index> layers;  // those recorded, ascending
  std::vector<Span> spans;
  /// Fields of the tier that were not recorded, of kOptionalFields.
  Fields missing = {};
  /// Fields recorded beyond the tier, of kExtraFields.
  Fields extra = {};
  std::string document = {};  // the text that the prompt was made from; empty: no other prompt is made from its text
  Index gradient_draws = 0;   // R of output_gradients; 0 = they are not recorded

  Fields recorded() const;
};

/// Gives recorded prompts from a file, a directory of parts, or memory. Reading is thread-safe.
class Source {
 public:
  virtual ~Source() = default;
  virtual const ModelInfo& model() const = 0;
  virtual const std::vector<PromptInfo>& prompts() const = 0;
  /// [n+T] token ids.
  virtual std::vector<std::int32_t> tokens(Index prompt) const = 0;
  /// The asked-for fields of one layer; throws TraceError when one was not recorded.
  virtual LayerData layer(Index prompt, Index layer, Fields fields) const = 0;
  /// W_O of one layer, [H*d, hidden]: y = sum over h of (attention output of head h) * rows h*d ... h*d+d-1.
  /// Throws TraceError when it was not recorded.
  virtual RowMatrix output_weight(Index layer) const = 0;
};

LayerShape layer_shape(const ModelInfo& model, const PromptInfo& prompt, Index layer);

/// Holds a trace in memory.
class MemoryTrace : public Source {
 public:
  struct Prompt {
    PromptInfo info;
    std::vector<std::int32_t> tokens;
    std::vector<LayerData> layers;  // as info.layers
  };

  explicit MemoryTrace(ModelInfo model) : model_(std::move(model)) {}
  void add_prompt(Prompt prompt);
  void set_output_weights(std::vector<RowMatrix> weights) { output_weights_ = std::move(weights); }

  const ModelInfo& model() const override { return model_; }
  const std::vector<PromptInfo>& prompts() const override { return infos_; }
  std::vector<std::int32_t> tokens(Index prompt) const override;
  LayerData layer(Index prompt, Index layer, Fields fields) const override;
  RowMatrix output_weight(Index layer) const override;

 private:
  ModelInfo model_;
  std::vector<PromptInfo> infos_;
  std::vector<Prompt> prompts_;
  std::vector<RowMatrix> output_weights_;
};

}  // namespace evictlab::trace
