#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/error.hpp"

namespace evictlab::results {

/// A table cannot be read, or lacks a column that is needed.
class TableError : public core::InputError {
 public:
  using core::InputError::InputError;
};

/// One cell: empty (not measured), a whole number, a number, or text.
using Cell = std::variant<std::monostate, std::int64_t, double, std::string>;

/// A tidy table: named columns, one observation a row. What commands write and figures are drawn from.
class Table {
 public:
  Table() = default;
  explicit Table(std::vector<std::string> columns) : columns_(std::move(columns)) {}

  const std::vector<std::string>& columns() const { return columns_; }
  std::size_t rows() const { return cells_.size(); }
  /// As many cells as columns, numbers finite; throws std::invalid_argument otherwise.
  void add_row(std::vector<Cell> cells);
  const std::vector<Cell>& row(std::size_t index) const { return cells_[index]; }

  /// Throws TableError naming the table, the column and those there are.
  std::size_t column(std::string_view name) const;
  /// The cell as a number; nothing when it is empty. Throws TableError when it is text that is no number.
  std::optional<double> number(std::size_t row, std::size_t column) const;
  /// The cell as text; a number as it is written to CSV.
  std::string text(std::size_t row, std::size_t column) const;

  /// RFC 4180 with a header line and "\n"; numbers in the shortest form that reads back the same.
  std::string to_csv() const;
  /// Reads it back. A cell becomes a number if that number would be written just so, hence "007" and "1.50"
  /// stay text (which number() reads all the same). `name` is for error messages, here and later. Throws
  /// TableError naming the line.
  static Table from_csv(std::string_view text, std::string_view name);

 private:
  std::string name_ = "table";
  std::vector<std::string> columns_;
  std::vector<std::vector<Cell>> cells_;
};

}  // namespace evictlab::results
