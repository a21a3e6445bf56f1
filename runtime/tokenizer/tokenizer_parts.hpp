#pragma once

#include "runtime/tokenizer/added_tokens.hpp"
#include "runtime/tokenizer/bpe.hpp"
#include "runtime/tokenizer/pipeline.hpp"

namespace evictlab::runtime {

/// What a Tokenizer is made of, in the order in which a text passes it.
struct TokenizerParts {
  Normalizer normalizer;       // may be empty
  PreTokenizer pre_tokenizer;  // may be empty
  Bpe model;
  AddedTokens added;
  Template wrapping;
  Decoder decoder;  // may be empty: then spaces stand between tokens
};

}  // namespace evictlab::runtime
