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

/// A value with its interval: "0.112 [0.090, 0.134]" from the columns `name`, `low` and `high`; without the brackets
/// where there is no interval.
std::string interval_text(const results::Table& table, std::size_t row, const std::string& name, const std::string& low,
                          const std::string& high, const char* format);
/// The same of "<name>", "<name>_low" and "<name>_high".
std::string interval_text(const results::Table& table, std::size_t row, const std::string& name, const char* format);

}  // namespace evictlab::cli
