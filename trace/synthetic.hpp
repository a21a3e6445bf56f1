#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trace/model.hpp"

// Traces made of nothing but a seed, whose attention follows patterns known in closed form: test data
// with answers, and input of any size for timing. Nothing is sampled from the patterns: queries and
// keys are constructed so that softmax(q·k * attention_scale) has them, and every recorded field is
// computed from the queries, keys and values as they are stored.
//
// All random numbers come from SplitMix64 (Steele, Lea, Flood 2014) with arithmetic of our own on
// top, so that a seed gives the same trace with every standard library.

namespace evictlab::trace {

/// The pattern by which a query head attends. Query t sees positions 0..t.
enum class HeadKind {
  kUniform,      // every position alike
  kSink,         // position 0, logit `sink_logit` above the rest
  kLocal,        // geometric decay into the past with ratio `local_ratio`
  kHeavyHitter,  // `heavy_hitters` random positions, logit `heavy_logit` above the rest
  kRetrieval,    // uniform; from the question on, the needle with logit `needle_logit` above the rest
  kDrift,        // as kHeavyHitter with other positions, replaced by further ones along the future
};

struct SyntheticOptions {
  std::uint64_t seed = 1;
  Index prompts = 4;
  Index layers = 6;          // L
  Index query_heads = 4;     // H, a multiple of kv_heads
  Index kv_heads = 2;        // G
  Index head_dim = 16;       // d, at least 8
  Index hidden_size = 0;     // columns of W_O: what output norms cost; 0 = H * d
  Index length = 256;        // n, at least 16
  Index future = 32;         // T, at least 1
  Index window = 32;         // w, 1..n
  Index sliding_window = 0;  // of layers 1, 3, 5, ...: query t sees t-sliding_window+1..t only; 0 = all
  Tier tier = Tier::kFull;
  /// The type of queries, keys and values. Keys count positions in units exact in float32 beyond any length
  /// and in float16 up to 2048: above, local heads of a float16 trace decay in steps.
  ElementType element_type = ElementType::kFloat32;
  /// Head h of layer l has kinds[(l * H + h) % size]; empty = the mixture of synthetic_head_kind().
  std::vector<HeadKind> kinds;

  double sink_logit = 6.0;  // logits: 0..50
  double heavy_logit = 4.0;
  double needle_logit = 6.0;
  double local_ratio = 0.9;  // 0.01 <= ratio < 1
  Index heavy_hitters = 8;   // positions per set, 1..n/2, at most 4096
  /// Also records repeat_attention. No pass repeats the prompt: the queries of the recorded window play it.
  bool repeat_attention = false;
};

/// Throws TraceError with the first option that is out of range, or when one layer would take more than 64 GiB.
void check(const SyntheticOptions& options);

/// The whole trace: architecture "synthetic", prompts "synth-000", "synth-001", ... with spans
/// "context", "needle" (inside the context, its depth spread over the prompts) and "question" (the
/// prompt's end); W_O in the full tier, which lacks residual_norms: no stream is simulated.
MemoryTrace synthesize(const SyntheticOptions& options);

/// The parts of that trace one by one, for traces and prompts larger than memory. Time and memory of a layer grow with
/// n + T, not with its square.
ModelInfo synthetic_model(const SyntheticOptions& options);
Index synthetic_hidden_size(const SyntheticOptions& options);
RowMatrix synthetic_output_weight(const SyntheticOptions& options, Index layer);  // [H*d, hidden]
MemoryTrace::Prompt synthetic_prompt(const SyntheticOptions& options, Index prompt);
std::string synthetic_prompt_id(Index prompt);
PromptInfo synthetic_prompt_info(const SyntheticOptions& options, Index prompt);
std::vector<std::int32_t> synthetic_tokens(const SyntheticOptions& options, Index prompt);  // [n+T]
LayerData synthetic_layer(const SyntheticOptions& options, Index prompt, Index layer);

/// The mixture: like trained models, early layers look near, middle layers search, late layers rest.
/// (first third: mostly local; second: retrieval, heavy hitters, drift; last: sink and uniform.)
HeadKind synthetic_head_kind(const SyntheticOptions& options, Index layer, Index query_head);
std::string_view head_kind_name(HeadKind kind);

/// Which set of heavy hitters a drift head's query t attends to: 1 in the prompt, then 1, 2, ...,
/// drift_sets() in equal parts of the future.
Index drift_sets(const SyntheticOptions& options);
Index drift_set_at(const SyntheticOptions& options, Index position);

/// The heavy hitters of one kv head, ascending: set 0 for kHeavyHitter heads, sets 1.. for kDrift heads.
std::vector<Index> synthetic_heavy_hitters(const SyntheticOptions& options, Index prompt, Index layer, Index kv_head,
                                           Index set);

/// Closed forms: the attention that query t (so t+1 positions) pays to one position.
/// 1 / (t+1)
double uniform_attention(Index t);
/// e^s / (e^s + t), to position 0; t >= 1
double sink_attention(double logit, Index t);
/// (1-r) r^(t-j) / (1 - r^(t+1))
double local_attention(double ratio, Index t, Index j);
/// e^s / (m e^s + t+1-m), to each of m preferred positions at or before t; sink: m = 1
double preferred_attention(double logit, Index m, Index t);
/// 1 / (m e^s + t+1-m), to each other position
double other_attention(double logit, Index m, Index t);
/// sum over t = j .. n-1 of 1/(t+1): attention_mass of position j under a uniform head
double uniform_mass(Index n, Index j);

}  // namespace evictlab::trace
