#pragma once

#include "core/gguf_metadata.hpp"
#include "runtime/tokenizer/pipeline.hpp"

namespace evictlab::runtime {

/// What tokenizer.ggml.pre of a GGUF file stands for: how a text is cut into words, and what else differs between
/// byte-level tokenizers that the file does not say.
struct GgufPreTokenizer {
  Normalizer normalizer;  // may be empty
  PreTokenizer words;     // in symbols of bytes
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say it
};

/// The one of that name, "default" without a name. Throws core::InputError for one that is not known, naming those that
/// are.
GgufPreTokenizer make_gguf_pre_tokenizer(const core::GgufValue* name);

}  // namespace evictlab::runtime
