#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace evictlab::core {

/// The candidate with the smallest edit distance to `name`, if it is close enough to be a slip of the
/// pen (at most a third of the longer word); empty otherwise.
std::string nearest(std::string_view name, std::span<const std::string> candidates);

/// ", did you mean 'x'?" for the nearest candidate, or "; known: a, b, c" if none is near.
std::string suggestion(std::string_view name, std::span<const std::string> candidates);

/// The number `text` is, all of it; nothing for anything else (also nan and inf).
std::optional<std::int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);

std::vector<std::string> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);

/// "1.5 GiB", "12 KiB", "7 B".
std::string format_bytes(double bytes);

}  // namespace evictlab::core
