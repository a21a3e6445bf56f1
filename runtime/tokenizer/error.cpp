#include "runtime/tokenizer/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace evictlab::runtime {

std::string shown(std::string_view text) {
  constexpr std::size_t kLimit = 60;
  std::size_t end = std::min(text.size(), kLimit);
  // Never inside a character: step back over UTF-8 continuation bytes.
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  std::string out = "'";
  for (const char c : text.substr(0, end)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + (end < text.size() ? "...'" : "'");
}

}  // namespace evictlab::runtime
