#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "results/table.hpp"

namespace evictlab::cli {

/// A number as a terminal shows it, in a format such as "{:.4f}"; "-" where there is none.
std::string number_text(std::optional<double> value, const char* format);
std::string number_text(const results::Table& table, std::size_t row, std::string_view column, const char* format);

}  // namespace evictlab::cli
