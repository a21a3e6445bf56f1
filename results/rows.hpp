#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "results/role.hpp"
#include "results/run_table.hpp"
#include "results/table.hpp"

// Reads any result table row by row, by the names of its columns.

namespace evictlab::results {

/// One row of a table. All throw TableError for a column that the table lacks, or whose cell is of another kind.
class RowView {
 public:
  RowView(const Table& table, std::size_t row) : table_(&table), row_(row) {}

  std::string text(std::string_view column) const { return table_->text(row_, table_->column(column)); }
  /// Nothing when the cell is empty.
  std::optional<double> number(std::string_view column) const { return table_->number(row_, table_->column(column)); }
  /// A cell that counts something (a layer, a head, a bin): a whole number in 0..99999; nothing when it is empty.
  std::optional<double> index(std::string_view column) const;

  std::size_t row() const { return row_; }
  std::string prompt() const { return text("prompt"); }
  std::string budget() const { return text("budget_requested"); }
  PolicyKey policy() const { return {text("policy"), text("parameters")}; }
  /// The second policy of a pair in kept_overlap.csv.
  PolicyKey other_policy() const { return {text("other_policy"), text("other_parameters")}; }
  /// Whether the row is a mean over all layers, not of one of them.
  bool over_layers() const { return text("layer") == kAllLayers; }

 private:
  const Table* table_;
  std::size_t row_;
};

/// The rows of a table, for range-based loops: for (const RowView row : RowsOf(table)).
class RowsOf {
 public:
  explicit RowsOf(const Table& table) : table_(&table) {}

  class Iterator {
   public:
    Iterator(const Table& table, std::size_t row) : table_(&table), row_(row) {}
    RowView operator*() const { return {*table_, row_}; }
    Iterator& operator++() {
      ++row_;
      return *this;
    }
    bool operator==(const Iterator& other) const { return row_ == other.row_; }

   private:
    const Table* table_;
    std::size_t row_;
  };
  Iterator begin() const { return {*table_, 0}; }
  Iterator end() const { return {*table_, table_->rows()}; }

 private:
  const Table* table_;
};

/// The requested budgets of a table as they are written, smallest first: numbers, then other texts.
std::vector<std::string> requested_budgets(const Table& table);

/// The one in the middle of requested_budgets(), which figures of a single budget show. Of a table with rows.
std::string middle_budget(const Table& table);

/// At most `count` of the items, evenly spread, the ends included; one only = the middle one.
std::vector<std::string> spread(const std::vector<std::string>& items, std::size_t count);

}  // namespace evictlab::results
