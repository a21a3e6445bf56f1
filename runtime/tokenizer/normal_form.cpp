#include "runtime/tokenizer/normal_form.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "core/interrupt.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

struct Character {
  char32_t value;
  ByteRange origin;
  int combining_class;
};

int combining_class(char32_t c) { return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class; }

ByteRange hull(ByteRange a, ByteRange b) { return {std::min(a.begin, b.begin), std::max(a.end, b.end)}; }

// Nothing below changes under the form: ASCII never does; NFC keeps everything before U+0300, whose first
// byte is 0xCC.
bool is_plain(std::string_view text, NormalForm form) {
  const unsigned limit = form == NormalForm::kNfc ? 0xCC : 0x80;
  return std::all_of(text.begin(), text.end(), [&](char c) { return static_cast<unsigned char>(c) < limit; });
}

std::vector<Character> decompose(const AlignedText& text, bool compatibility) {
  constexpr std::size_t kLongest = 32;  // U+FDFA has 18 characters, none has more
  const int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatibility ? UTF8PROC_COMPAT : 0);
  std::vector<Character> characters;
  characters.reserve(text.bytes.size());
  for (std::size_t at = 0; at < text.bytes.size();) {
    core::throw_if_interrupted();
    const CodePoint point = code_point_at(text.bytes, at);
    std::array<utf8proc_int32_t, kLongest> parts{};
    int boundary_class = 0;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(point.value), parts.data(), kLongest,
                                               static_cast<utf8proc_option_t>(options), &boundary_class);
    for (std::size_t i = 0; i < static_cast<std::size_t>(std::max<utf8proc_ssize_t>(count, 0)); ++i) {
      const auto value = static_cast<char32_t>(parts[i]);
      characters.push_back({value, text.origin[at], combining_class(value)});
    }
    at += point.size;
  }
  return characters;
}

// The Canonical Ordering Algorithm (Unicode section 3.11): runs of marks by combining class.
void order_marks(std::vector<Character>& characters) {
  const auto is_mark = [](const Character& c) { return c.combining_class != 0; };
  for (auto run = std::find_if(characters.begin(), characters.end(), is_mark); run != characters.end();) {
    const auto end = std::find_if_not(run, characters.end(), is_mark);
    std::stable_sort(run, end,
                     [](const Character& a, const Character& b) { return a.combining_class < b.combining_class; });
    run = std::find_if(end, characters.end(), is_mark);
  }
}

std::optional<char32_t> composite(char32_t first, char32_t second) {
  if (second < 0x300) return std::nullopt;
  std::array<utf8proc_int32_t, 2> pair = {static_cast<utf8proc_int32_t>(first), static_cast<utf8proc_int32_t>(second)};
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  if (utf8proc_normalize_utf32(pair.data(), 2, options) != 1) return std::nullopt;
  return static_cast<char32_t>(pair[0]);
}

// The Canonical Composition Algorithm (Unicode section 3.11). A character may join the last starter unless
// one between them has its combining class or a higher one.
std::vector<Character> compose(const std::vector<Character>& characters) {
  std::vector<Character> out;
  out.reserve(characters.size());
  std::optional<std::size_t> starter;
  for (const Character& c : characters) {
    const bool adjacent = starter && *starter + 1 == out.size();
    if (starter && (adjacent || out.back().combining_class < c.combining_class)) {
      if (const auto joined = composite(out[*starter].value, c.value)) {
        out[*starter].value = *joined;
        out[*starter].origin = hull(out[*starter].origin, c.origin);
        continue;
      }
    }
    if (c.combining_class == 0) starter = out.size();
    out.push_back(c);
  }
  return out;
}

AlignedText to_text(const std::vector<Character>& characters) {
  AlignedText text;
  std::string bytes;
  for (const Character& c : characters) {
    bytes.clear();
    append_utf8(bytes, c.value);
    text.append(bytes, c.origin);
  }
  return text;
}

}  // namespace

AlignedText normalize(const AlignedText& text, NormalForm form) {
  if (is_plain(text.bytes, form)) return text;
  std::vector<Character> characters = decompose(text, form == NormalForm::kNfkc || form == NormalForm::kNfkd);
  order_marks(characters);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) characters = compose(characters);
  return to_text(characters);
}

AlignedText lower_case(const AlignedText& text) {
  constexpr char32_t kCapitalIWithDot = 0x130;  // the only character whose lower case is two characters
  AlignedText out;
  std::string bytes;
  for (std::size_t at = 0; at < text.bytes.size();) {
    const CodePoint point = code_point_at(text.bytes, at);
    bytes.clear();
    if (point.value == kCapitalIWithDot) {
      bytes = "i\u0307";
    } else {
      append_utf8(bytes, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(point.value))));
    }
    out.append(bytes, text.origin[at]);
    at += point.size;
  }
  return out;
}

}  // namespace evictlab::runtime
