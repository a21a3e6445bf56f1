#pragma once

#include "core/gguf.hpp"
#include "runtime/tokenizer/tokenizer.hpp"

namespace evictlab::runtime {

/// The tokenizer that a GGUF file's metadata describe (tokenizer.ggml.*), of the kinds
///   gpt2   byte-level byte pair encoding with merges, words cut as tokenizer.ggml.pre says;
///   llama  SentencePiece's byte pair encoding by scores, on the whole text.
/// Control and unknown tokens are special tokens, user-defined ones are found in a text as well. As in llama.cpp, text
/// after one of these begins with a space of its own where add_space_prefix says that texts do.
/// Throws core::InputError in one line: another kind or pre-tokenizer, by its name; lists that do not fit each other;
/// tokens that are not UTF-8; a merge or a special id without its token.
Tokenizer make_gguf_tokenizer(const core::GgufFile& file);

}  // namespace evictlab::runtime
