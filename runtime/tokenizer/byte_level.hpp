#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace evictlab::runtime {

/// GPT-2's alphabet for bytes (Radford et al. 2019, encoder.py): printable Latin-1 bytes stand for
/// themselves, the other 68 for U+0100, U+0101, ... in order. So a vocabulary over bytes is text.
std::string_view byte_to_symbol(std::uint8_t byte);
std::optional<std::uint8_t> symbol_to_byte(char32_t symbol);

/// The bytes that a token of this alphabet stands for; the token itself if it has any other character.
std::string token_bytes(std::string_view token);

/// GPT-2's pattern for words, in Oniguruma's notation.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace evictlab::runtime
