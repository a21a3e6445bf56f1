#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plots/style.hpp"
#include "results/statistics.hpp"
#include "results/table.hpp"

namespace evictlab::plots {

/// A policy with its parameters: what one line of a figure stands for.
struct PolicyKey {
  std::string policy;
  std::string parameters;  // "window=32,kernel=7"

  friend auto operator<=>(const PolicyKey&, const PolicyKey&) = default;
};

/// The policies of a table in the order of legends, with their labels and styles. A label tells only the
/// parameters that distinguish it from the table's other uses of that policy.
struct Series {
  PolicyKey key;
  std::string label;
  Style style;
};
std::vector<Series> series_of(const results::Table& table);

/// Where a column is that not every table has.
std::optional<std::size_t> find_column(const results::Table& table, std::string_view name);

/// A cell that counts something (a layer, a head, a bin): a whole number in 0..99999; nothing when it is empty.
/// Throws TableError for anything else.
std::optional<double> index_at(const results::Table& table, std::size_t row, std::size_t column);

/// The requested budgets of a table as they are written, smallest first: numbers, then other texts.
std::vector<std::string> requested_budgets(const results::Table& table);

/// At most `count` of them, evenly spread, the ends included; one only = the middle one.
std::vector<std::string> spread(const std::vector<std::string>& items, std::size_t count);

/// Mean over prompts with its bootstrap interval.
results::Interval estimate(const std::map<std::string, double>& by_prompt);

/// For captions: "mean over 12 prompts", "one prompt"; with ", 95 % bootstrap intervals" where they are drawn.
std::string mean_over(std::size_t prompts, bool intervals);

}  // namespace evictlab::plots
