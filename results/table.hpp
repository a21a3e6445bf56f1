#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
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

/// The cell of a value: whole numbers of any width, numbers, text, or nothing.
inline Cell cell_of(Cell cell) { return cell; }
inline Cell cell_of(std::integral auto value) { return static_cast<std::int64_t>(value); }
inline Cell cell_of(double value) { return value; }
inline Cell cell_of(std::string value) { return value; }
inline Cell cell_of(std::string_view value) { return std::string(value); }
inline Cell cell_of(const char* value) { return std::string(value); }
template <typename Value>
Cell cell_of(const std::optional<Value>& value) {
  return value ? cell_of(*value) : Cell();
}

class Row;

/// A tidy table: named columns, one observation a row. What commands write and figures are drawn from.
class Table {
 public:
  Table() = default;
  explicit Table(std::vector<std::string> columns) : columns_(std::move(columns)) {}

  const std::vector<std::string>& columns() const { return columns_; }
  std::size_t rows() const { return cells_.size(); }
  /// As many cells as columns, numbers finite; throws std::invalid_argument otherwise.
  void add_row(std::vector<Cell> cells);
  /// A row made for these columns.
  void add_row(Row row);
  /// The rows of a table of the same columns, after those there are.
  void append(const Table& more);
  const std::vector<Cell>& row(std::size_t index) const { return cells_[index]; }

  /// Throws TableError naming the table, the column and those there are.
  std::size_t column(std::string_view name) const;
  /// The same, for a column that not every table has.
  std::optional<std::size_t> find_column(std::string_view name) const;
  /// The cell as a number; nothing when it is empty. Throws TableError when it is text that is no number.
  std::optional<double> number(std::size_t row, std::size_t column) const;
  /// The cell as text; a number as it is written to CSV.
  std::string text(std::size_t row, std::size_t column) const;

  /// RFC 4180 with a header line and "\n"; numbers in the shortest form that reads back the same. A text that a
  /// spreadsheet would run as a formula (it begins with = + - @, a tab or a line break) gets an apostrophe in
  /// front.
  std::string to_csv() const;
  /// Reads it back, without these apostrophes. A cell becomes a number if that number would be written just so, hence
  /// "007" and "1.50" stay text (which number() reads all the same). `name` is for error messages, here and later.
  /// Throws TableError naming the line.
  static Table from_csv(std::string_view text, std::string_view name);

 private:
  std::string name_ = "table";
  std::vector<std::string> columns_;
  std::vector<std::vector<Cell>> cells_;
};

/// Collects the cells of one row of a table by the names of its columns; those not set stay empty.
class Row {
 public:
  explicit Row(const Table& table) : columns_(&table.columns()), cells_(table.columns().size()) {}

  /// Throws std::invalid_argument when the table has no such column.
  template <typename Value>
  Row& set(std::string_view column, Value&& value) {
    cells_[index(column)] = cell_of(std::forward<Value>(value));
    return *this;
  }

 private:
  friend class Table;
  std::size_t index(std::string_view column) const;

  const std::vector<std::string>* columns_;
  std::vector<Cell> cells_;
};

}  // namespace evictlab::results
