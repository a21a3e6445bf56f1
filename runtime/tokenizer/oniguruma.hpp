#pragma once

#include <string>
#include <string_view>

namespace evictlab::runtime {

/// `\s` of Oniguruma and Rust (the property White_Space) and `\w` of Rust's regex crate, which finds the
/// words of the Whitespace pre-tokenizer and of single-word tokens; as the inside of a PCRE2 class.
inline constexpr std::string_view kWhiteSpaceMembers =
    R"(\t-\r\x20\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
inline constexpr std::string_view kRustWordMembers = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control})";

/// The PCRE2 pattern (for PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE) that matches what `pattern` matches in
/// Oniguruma with its Ruby syntax, in which tokenizer.json files write their patterns. It rewrites what
/// the two read differently:
///   \s, \w, \b     other Unicode properties: PCRE2's \s has U+180E, its \w lacks combining marks
///   x{1,3}+ x{2}?  Ruby: a quantifier of a quantifier, not possessive, not lazy
///   x{,3}          {0,3}; any other brace is itself
///   \p{Han}        the script, without PCRE2's script extensions
///   (?m:...)       the dot matches newlines
/// Throws TokenizerError for what has no safe counterpart, such as class intersections, back references
/// and ignoring the case of letters that fold to several.
std::string pcre2_from_oniguruma(std::string_view pattern);

}  // namespace evictlab::runtime
