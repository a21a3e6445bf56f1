#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace evictlab::runtime {

/// The JSON object `text` is, all of it. Throws ModelError when it is not valid JSON, not an object,
/// nested more than 64 deep, or an object in it has the same key twice (of which a parser would silently keep one).
/// `where` names it.
nlohmann::json parse_object(std::string_view text, std::string_view where);

/// The JSON object a file holds. Throws ModelError, or InputError when the file cannot be read.
nlohmann::json read_object(const std::filesystem::path& path);

}  // namespace evictlab::runtime
