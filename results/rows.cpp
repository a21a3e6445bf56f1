#include "results/rows.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/text.hpp"

namespace evictlab::results {

std::optional<double> RowView::index(std::string_view column) const {
  const std::optional<double> value = number(column);
  if (value && !(*value >= 0 && *value <= 99999 && *value == std::floor(*value))) {
    throw TableError("row {}: column '{}' is {}, not a whole number in 0..99999", row_ + 1, column, *value);
  }
  return value;
}

std::vector<std::string> requested_budgets(const Table& table) {
  std::set<std::string> texts;
  for (const RowView row : RowsOf(table)) texts.insert(row.budget());
  std::vector<std::string> budgets(texts.begin(), texts.end());
  const auto number = [](const std::string& text) { return core::parse_number(text).value_or(1e300); };
  std::ranges::stable_sort(budgets, {}, number);
  return budgets;
}

std::string middle_budget(const Table& table) { return spread(requested_budgets(table), 1).front(); }

std::vector<std::string> spread(const std::vector<std::string>& items, std::size_t count) {
  if (items.size() <= count) return items;
  if (count == 1) return {items[items.size() / 2]};
  std::vector<std::string> chosen;
  for (std::size_t i = 0; i < count; ++i) chosen.push_back(items[i * (items.size() - 1) / (count - 1)]);
  return chosen;
}

}  // namespace evictlab::results
