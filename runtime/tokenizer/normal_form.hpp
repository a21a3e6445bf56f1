#pragma once

#include "runtime/tokenizer/pieces.hpp"

namespace evictlab::runtime {

/// The normalization forms of Unicode Standard Annex 15.
enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// `text` in `form`. A character composed of several comes from the range that holds all of them.
AlignedText normalize(const AlignedText& text, NormalForm form);

/// `text` with each character in lower case by its own mapping (Unicode's SpecialCasing without conditions).
AlignedText lower_case(const AlignedText& text);

}  // namespace evictlab::runtime
