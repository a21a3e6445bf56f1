#include "cli/number_text.hpp"

#include <fmt/format.h>

namespace evictlab::cli {

std::string number_text(std::optional<double> value, const char* format) {
  return value ? fmt::format(fmt::runtime(format), *value) : std::string("-");
}

std::string number_text(const results::Table& table, std::size_t row, std::string_view column, const char* format) {
  return number_text(table.number(row, table.column(column)), format);
}

}  // namespace evictlab::cli
