#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "results/table.hpp"

// What every table that a command writes holds: the one place where tables get their columns, and what docs/results.md
// is made from.

namespace evictlab::results {

enum class ColumnType { kText, kInteger, kNumber };

struct Column {
  std::string name;
  ColumnType type;
  std::string unit;  // empty: none
  std::string meaning;
};

struct TableSchema {
  std::string name;      // without ".csv"
  std::string commands;  // that write it
  std::string row;       // what one row is
  std::vector<Column> columns;
};

/// The tables of all commands, grouped by command.
const std::vector<TableSchema>& schemas();

/// Throws std::invalid_argument when no command writes a table of this name.
const TableSchema& schema(std::string_view table);

/// A table with the columns of its schema and no rows.
Table new_table(std::string_view table);

/// The schemas as the Markdown of docs/results.md.
std::string schema_page();

}  // namespace evictlab::results
