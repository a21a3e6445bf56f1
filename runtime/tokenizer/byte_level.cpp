#include "runtime/tokenizer/byte_level.hpp"

#include <array>

#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

constexpr char32_t kFirstStandIn = 0x100;
constexpr std::size_t kBytes = 256;

struct Alphabet {
  std::array<std::string, kBytes> symbols;
  std::array<std::optional<std::uint8_t>, 2 * kBytes> bytes;  // by code point

  Alphabet() {
    char32_t stand_in = kFirstStandIn;
    for (std::size_t byte = 0; byte < kBytes; ++byte) {
      const bool printable =
          (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
      const char32_t symbol = printable ? static_cast<char32_t>(byte) : stand_in++;
      append_utf8(symbols[byte], symbol);
      bytes[symbol] = static_cast<std::uint8_t>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

std::string_view byte_to_symbol(std::uint8_t byte) { return alphabet().symbols[byte]; }

std::optional<std::uint8_t> symbol_to_byte(char32_t symbol) {
  return symbol < alphabet().bytes.size() ? alphabet().bytes[symbol] : std::nullopt;
}

std::string token_bytes(std::string_view token) {
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const CodePoint symbol = code_point_at(token, at);
    const auto byte = symbol_to_byte(symbol.value);
    if (!byte) return std::string(token);
    bytes += static_cast<char>(*byte);
    at += symbol.size;
  }
  return bytes;
}

}  // namespace evictlab::runtime
