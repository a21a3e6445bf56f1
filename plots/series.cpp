#include "plots/series.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/text.hpp"

namespace evictlab::plots {
namespace {

// "a=1,b=x(c=2,d=3)" as its top-level items.
std::vector<std::string> items_of(const std::string& parameters) {
  std::vector<std::string> items;
  int depth = 0;
  for (const char c : parameters) {
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    if (items.empty() || (c == ',' && depth == 0)) items.emplace_back();
    if (c != ',' || depth != 0) items.back() += c;
  }
  return items;
}

// To at most 60 bytes, not inside a character.
std::string shortened(std::string label) {
  constexpr std::size_t kLongest = 60;
  if (label.size() <= kLongest) return label;
  std::size_t end = kLongest - 3;
  while (end > 0 && (static_cast<unsigned char>(label[end]) & 0xC0U) == 0x80U) --end;
  return label.substr(0, end) + "…";
}

std::string label_of(const PolicyKey& key, const std::set<PolicyKey>& all) {
  std::vector<std::string> common = items_of(key.parameters);
  std::size_t uses = 0;
  for (const PolicyKey& other : all) {
    if (other.policy != key.policy) continue;
    ++uses;
    const std::vector<std::string> items = items_of(other.parameters);
    std::erase_if(common, [&](const std::string& item) { return std::ranges::find(items, item) == items.end(); });
  }
  std::string telling;
  for (const std::string& item : items_of(key.parameters)) {
    if (uses > 1 && std::ranges::find(common, item) == common.end()) telling += (telling.empty() ? "" : ", ") + item;
  }
  return shortened(telling.empty() ? key.policy : fmt::format("{} ({})", key.policy, telling));
}

}  // namespace

std::vector<Series> series_of(const results::Table& table) {
  const std::size_t policy = table.column("policy");
  const std::size_t parameters = table.column("parameters");
  std::set<PolicyKey> keys;
  for (std::size_t r = 0; r < table.rows(); ++r) keys.insert({table.text(r, policy), table.text(r, parameters)});
  std::vector<Series> series;
  std::map<std::string, std::size_t> uses;
  for (const PolicyKey& key : keys) {
    series.push_back({key, label_of(key, keys), policy_style(key.policy, uses[key.policy]++)});
  }
  std::ranges::stable_sort(series, {}, [](const Series& s) { return policy_rank(s.key.policy); });
  return series;
}

std::optional<std::size_t> find_column(const results::Table& table, std::string_view name) {
  const auto found = std::ranges::find(table.columns(), name);
  if (found == table.columns().end()) return std::nullopt;
  return static_cast<std::size_t>(found - table.columns().begin());
}

std::optional<double> index_at(const results::Table& table, std::size_t row, std::size_t column) {
  const std::optional<double> number = table.number(row, column);
  if (number && !(*number >= 0 && *number <= 99999 && *number == std::floor(*number))) {
    throw results::TableError("row {}: column '{}' is {}, not a whole number in 0..99999", row + 1,
                              table.columns()[column], *number);
  }
  return number;
}

std::vector<std::string> requested_budgets(const results::Table& table) {
  const std::size_t column = table.column("budget_requested");
  std::set<std::string> texts;
  for (std::size_t r = 0; r < table.rows(); ++r) texts.insert(table.text(r, column));
  std::vector<std::string> budgets(texts.begin(), texts.end());
  const auto number = [](const std::string& text) { return core::parse_number(text).value_or(1e300); };
  std::ranges::stable_sort(budgets, {}, number);
  return budgets;
}

std::vector<std::string> spread(const std::vector<std::string>& items, std::size_t count) {
  if (items.size() <= count) return items;
  if (count == 1) return {items[items.size() / 2]};
  std::vector<std::string> chosen;
  for (std::size_t i = 0; i < count; ++i) chosen.push_back(items[i * (items.size() - 1) / (count - 1)]);
  return chosen;
}

results::Interval estimate(const std::map<std::string, double>& by_prompt) {
  std::vector<double> values;
  for (const auto& [prompt, value] : by_prompt) values.push_back(value);
  return results::bootstrap_mean(values, {.resamples = 1000});
}

std::string mean_over(std::size_t prompts, bool intervals) {
  if (prompts == 1) return "one prompt";
  return fmt::format("mean over {} prompts{}", prompts, intervals ? ", 95 % bootstrap intervals" : "");
}

}  // namespace evictlab::plots
