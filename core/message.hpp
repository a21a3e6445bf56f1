#pragma once

#include <string>
#include <string_view>

// Texts from files, fit for a message of one line.

namespace evictlab::core {

/// `text` with its control characters written out ("\x0a").
std::string one_line(std::string_view text);

/// The same in single quotes, cut after 60 bytes.
std::string quote(std::string_view text);

}  // namespace evictlab::core
