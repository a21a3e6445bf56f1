#include "core/message.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

namespace evictlab::core {

std::string one_line(std::string_view text) {
  std::string line;
  line.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += c;
    }
  }
  return line;
}

std::string quote(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  std::size_t end = std::min(text.size(), kLongest);
  // Never inside a character: step back over UTF-8 continuation bytes.
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return fmt::format("'{}{}'", one_line(text.substr(0, end)), end < text.size() ? "..." : "");
}

}  // namespace evictlab::core
