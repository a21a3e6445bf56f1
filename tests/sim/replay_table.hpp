#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "results/table.hpp"

namespace evictlab::sim {

/// Gives a table's cells by the names of their columns.
class Rows {
 public:
  explicit Rows(const results::Table& table) : table_(table) {}
  std::size_t size() const { return table_.rows(); }
  std::string text(std::size_t row, const char* column) const { return table_.text(row, table_.column(column)); }
  std::optional<double> number(std::size_t row, const char* column) const {
    return table_.number(row, table_.column(column));
  }
  bool judged(std::size_t row) const { return text(row, "status") != "infeasible"; }

 private:
  const results::Table& table_;
};

}  // namespace evictlab::sim
