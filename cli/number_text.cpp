#include "cli/number_text.hpp"

#include <fmt/format.h>

namespace evictlab::cli {

std::string number_text(std::optional<double> value, const char* format) {
  return value ? fmt::format(fmt::runtime(format), *value) : std::string("-");
}

std::string number_text(const results::Table& table, std::size_t row, std::string_view column, const char* format) {
  return number_text(table.number(row, table.column(column)), format);
}

std::string interval_text(const results::Table& table, std::size_t row, const std::string& name, const std::string& low,
                          const std::string& high, const char* format) {
  const std::string value = number_text(table, row, name, format);
  if (!table.number(row, table.column(low)) || !table.number(row, table.column(high))) return value;
  return fmt::format("{} [{}, {}]", value, number_text(table, row, low, format), number_text(table, row, high, format));
}

std::string interval_text(const results::Table& table, std::size_t row, const std::string& name, const char* format) {
  return interval_text(table, row, name, name + "_low", name + "_high", format);
}

}  // namespace evictlab::cli
