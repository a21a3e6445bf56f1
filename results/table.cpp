#include "results/table.hpp"

#include <csv.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "core/interrupt.hpp"
#include "core/text.hpp"

namespace evictlab::results {
namespace {

std::string cell_text(const Cell& cell) {
  if (const auto* integer = std::get_if<std::int64_t>(&cell)) return fmt::format("{}", *integer);
  if (const auto* number = std::get_if<double>(&cell)) return fmt::format("{}", *number);
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  return {};
}

// A text becomes a number only if the number would be written just so: "007" is an id, not 7.
Cell parse_cell(std::string text) {
  if (text.empty()) return std::monostate{};
  if (const auto integer = core::parse_integer(text); integer && cell_text(*integer) == text) return *integer;
  if (const auto number = core::parse_number(text); number && cell_text(*number) == text) return *number;
  return text;
}

/// Whether a spreadsheet would take a cell for a formula, as far as apostrophes before it keep it from that.
bool begins_formula(std::string_view field) {
  field.remove_prefix(std::min(field.find_first_not_of('\''), field.size()));
  return !field.empty() && std::string_view("=+-@\t\r\n").find(field.front()) != std::string_view::npos;
}

// Spreadsheets show what follows an apostrophe as text. One more goes before a text that has some already, so that
// unguarded() gives back any text.
std::string guarded(std::string field) {
  if (!begins_formula(field) || core::parse_number(field)) return field;
  return "'" + std::move(field);
}

std::string unguarded(std::string field) {
  if (field.starts_with('\'') && begins_formula(field)) field.erase(0, 1);
  return field;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

void append_field(std::string& csv, std::string_view field) {
  if (field.find_first_of(",\"") == std::string_view::npos && std::ranges::none_of(field, is_control)) {
    csv += field;
    return;
  }
  csv += '"';
  for (const char c : field) {
    if (c == '"') csv += '"';
    csv += c;
  }
  csv += '"';
}

// libcsv, fed line by line so that errors can tell the line; collects one record at a time.
class CsvReader {
 public:
  CsvReader() {
    if (csv_init(&parser_, CSV_STRICT | CSV_STRICT_FINI) != 0) throw std::runtime_error("csv_init failed");
    csv_set_space_func(&parser_, [](unsigned char) { return 0; });  // spaces belong to their field
  }
  ~CsvReader() { csv_free(&parser_); }
  CsvReader(const CsvReader&) = delete;
  CsvReader& operator=(const CsvReader&) = delete;

  /// False when the line is no CSV.
  bool feed(std::string_view line) {
    return csv_parse(&parser_, line.data(), line.size(), &on_field, &on_record, this) == line.size();
  }
  bool finish() { return csv_fini(&parser_, &on_field, &on_record, this) == 0; }
  const char* error() { return csv_strerror(csv_error(&parser_)); }
  /// The records that have ended since the last call.
  std::vector<std::vector<std::string>> take_records() { return std::exchange(records_, {}); }

 private:
  static void on_field(void* data, std::size_t size, void* self) {
    auto& reader = *static_cast<CsvReader*>(self);
    reader.fields_.emplace_back(data == nullptr ? "" : static_cast<const char*>(data), size);
  }
  static void on_record(int /*terminator*/, void* self) {
    auto& reader = *static_cast<CsvReader*>(self);
    reader.records_.push_back(std::exchange(reader.fields_, {}));
  }

  csv_parser parser_{};
  std::vector<std::string> fields_;
  std::vector<std::vector<std::string>> records_;
};

/// Refuses HDF5 files, images and the like: named as what they are, not as a missing column. Quoted cells may hold any
/// bytes, but the header's. `quoted`: whether the line begins, and then whether the next one does, inside quotes.
void require_text(std::string_view line, std::size_t number, bool& quoted, std::string_view table) {
  for (const char c : line) {
    if (c == '"') quoted = !quoted;
    if (is_control(c) && c != '\t' && c != '\r' && c != '\n' && (!quoted || number == 1)) {
      throw TableError("{}: not a table: line {} has control characters", table, number);
    }
  }
}

void require_header(const std::vector<std::string>& names, std::string_view table) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty()) throw TableError("{}: line 1: column {} has no name", table, i + 1);
    if (std::any_of(names[i].begin(), names[i].end(), is_control)) {
      throw TableError("{}: line 1: column {} has a name of control characters", table, i + 1);
    }
    if (std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(i), names[i]) !=
        names.begin() + static_cast<std::ptrdiff_t>(i)) {
      throw TableError("{}: line 1: two columns are named '{}'", table, names[i]);
    }
  }
}

}  // namespace

void Table::add_row(std::vector<Cell> cells) {
  if (cells.size() != columns_.size()) {
    throw std::invalid_argument(fmt::format("a row of {} cells for {} columns", cells.size(), columns_.size()));
  }
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (const auto* number = std::get_if<double>(&cells[i]); number != nullptr && !std::isfinite(*number)) {
      throw std::invalid_argument(fmt::format("{} in column {}", *number, columns_[i]));
    }
  }
  cells_.push_back(std::move(cells));
}

void Table::add_row(Row row) { add_row(std::move(row.cells_)); }

void Table::append(const Table& more) {
  for (const std::vector<Cell>& cells : more.cells_) add_row(cells);
}

std::optional<std::size_t> Table::find_column(std::string_view name) const {
  const auto found = std::find(columns_.begin(), columns_.end(), name);
  if (found == columns_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - columns_.begin());
}

std::size_t Table::column(std::string_view name) const {
  if (const auto found = find_column(name)) return *found;
  throw TableError("{}: there is no column '{}'; it has {}", name_, name, fmt::join(columns_, ", "));
}

std::size_t Row::index(std::string_view column) const {
  const auto found = std::find(columns_->begin(), columns_->end(), column);
  if (found == columns_->end()) throw std::invalid_argument(fmt::format("no column '{}' in this table", column));
  return static_cast<std::size_t>(found - columns_->begin());
}

std::optional<double> Table::number(std::size_t row, std::size_t column) const {
  const Cell& cell = cells_[row][column];
  if (const auto* integer = std::get_if<std::int64_t>(&cell)) return static_cast<double>(*integer);
  if (const auto* number = std::get_if<double>(&cell)) return *number;
  if (const auto* text = std::get_if<std::string>(&cell)) {
    if (const auto number = core::parse_number(*text)) return number;
    throw TableError("{}: row {}: column '{}' is '{}', not a number", name_, row + 1, columns_[column], *text);
  }
  return std::nullopt;
}

std::string Table::text(std::size_t row, std::size_t column) const { return cell_text(cells_[row][column]); }

std::string Table::to_csv() const {
  std::string csv;
  const auto append_line = [&csv](std::size_t cells, const auto& text_of) {
    const std::size_t start = csv.size();
    for (std::size_t i = 0; i < cells; ++i) {
      if (i > 0) csv += ',';
      append_field(csv, guarded(text_of(i)));
    }
    if (csv.size() == start) csv += "\"\"";  // a lone empty cell: a blank line would be no row
    csv += '\n';
  };
  append_line(columns_.size(), [&](std::size_t i) { return columns_[i]; });
  for (std::size_t r = 0; r < rows(); ++r) {
    append_line(columns_.size(), [&](std::size_t i) { return text(r, i); });
  }
  return csv;
}

Table Table::from_csv(std::string_view text, std::string_view name) {
  Table table;
  table.name_ = name;
  CsvReader reader;
  std::size_t line = 0;
  bool quoted = false;
  const auto take = [&] {
    for (std::vector<std::string>& record : reader.take_records()) {
      if (table.columns_.empty()) {
        std::ranges::transform(record, record.begin(), unguarded);
        require_header(record, name);
        table.columns_ = std::move(record);
        continue;
      }
      if (record.size() != table.columns_.size()) {
        throw TableError("{}: line {}: {} cells where the header names {} columns", name, line, record.size(),
                         table.columns_.size());
      }
      std::vector<Cell> cells;
      cells.reserve(record.size());
      for (std::string& field : record) cells.push_back(parse_cell(unguarded(std::move(field))));
      table.cells_.push_back(std::move(cells));
    }
  };
  while (!text.empty()) {
    const std::size_t size = std::min(text.find('\n'), text.size() - 1) + 1;
    ++line;
    require_text(text.substr(0, size), line, quoted, name);
    core::throw_if_interrupted();
    if (!reader.feed(text.substr(0, size))) throw TableError("{}: line {}: {}", name, line, reader.error());
    text.remove_prefix(size);
    take();
  }
  if (!reader.finish()) throw TableError("{}: line {}: a quoted cell does not end", name, line);
  take();
  if (table.columns_.empty()) throw TableError("{}: not a table: it has no header line", name);
  return table;
}

}  // namespace evictlab::results
