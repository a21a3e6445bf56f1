#include "results/needle_grid.hpp"

#include <algorithm>
#include <map>
#include <ranges>
#include <string>

namespace evictlab::results {
namespace {

/// What tells runs apart.
std::string run_of(const Table& table, std::size_t row) {
  std::string run;
  for (const char* column : {"prompt", "policy", "parameters", "budget_requested"}) {
    run += table.text(row, table.column(column)) + "\n";
  }
  return run;
}

}  // namespace

Table needle_grid(const Table& validate, const Table& spans) {
  std::map<std::string, std::size_t> kept;  // run → row of spans
  for (std::size_t row = 0; row < spans.rows(); ++row) {
    if (spans.text(row, spans.column("span")) == "needle" && spans.text(row, spans.column("layer")) == "all") {
      kept[run_of(spans, row)] = row;
    }
  }
  const auto says_depth = [&](std::size_t row) { return validate.number(row, validate.column("depth")).has_value(); };
  const bool some_say = std::ranges::any_of(std::views::iota(std::size_t{0}, validate.rows()), says_depth);
  Table grid(
      {"prompt", "task", "prompt_length", "depth", "policy", "parameters", "budget_requested", "accuracy", "retained"});
  for (std::size_t row = 0; row < validate.rows(); ++row) {
    if (validate.text(row, validate.column("turn")) != "1" || (some_say && !says_depth(row))) continue;
    const auto found = kept.find(run_of(validate, row));
    if (found == kept.end() || !validate.number(row, validate.column("accuracy_after_first"))) continue;
    std::vector<Cell> cells;
    for (const char* column : {"prompt", "task", "prompt_length", "depth", "policy", "parameters", "budget_requested",
                               "accuracy_after_first", "retained"}) {
      const bool of_span = std::string_view(column) == "depth" || std::string_view(column) == "retained";
      cells.push_back(of_span ? spans.row(found->second)[spans.column(column)]
                              : validate.row(row)[validate.column(column)]);
    }
    grid.add_row(std::move(cells));
  }
  return grid;
}

}  // namespace evictlab::results
