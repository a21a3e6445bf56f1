#pragma once

#include <functional>
#include <span>
#include <vector>

#include "runtime/transformer.hpp"
#include "trace/model.hpp"

namespace evictlab::runtime {

/// Tokens of a repeated chunk where nothing else is asked for.
inline constexpr Index kRepeatChunk = 2048;

/// What a model pays every prompt position while it reads the prompt a second time, chunk by chunk (KVzip, Kim et al.
/// 2025, arXiv:2505.23416): [G, n] for each layer of `prompt.layers`, in order. After the whole prompt, each chunk's
/// tokens are read again, at positions n, n + 1, ..., as a teacher-forced repetition; they see the prompt and each
/// other. A query's weights are taken over its chunk and what of the repetition it sees, as shares of their sum, and a
/// position gets the largest that a query of its kv head's group pays it. `cache` holds the prompt, n slots a head, and
/// room for min(chunk, n) more; it is left as it was. `progress` receives the share done.
///
/// The authors' code puts an instruction before each repeated chunk and counts the system prompt among the keys;
/// neither is known of a recorded prompt, so neither is here.
std::vector<trace::Tensor> repeat_attention(const Transformer& model, const trace::PromptInfo& prompt,
                                            std::span<const std::int32_t> tokens, Index chunk, KvCache& cache,
                                            const std::function<void(double)>& progress);

}  // namespace evictlab::runtime
