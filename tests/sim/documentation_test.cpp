// docs/policies.md against the registry: a row per policy, and each policy's parameters with their defaults.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/ranges.h>

#include "core/file.hpp"
#include "core/text.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

// Cells of the table rows whose first cell is `name` in backticks.
std::vector<std::vector<std::string>> rows_of(const std::string& page, const std::string& name) {
  std::vector<std::vector<std::string>> rows;
  for (const std::string& line : core::split(page, '\n')) {
    if (!line.starts_with(fmt::format("| `{}` |", name))) continue;
    std::vector<std::string> cells;
    for (const std::string& cell : core::split(line, '|')) cells.emplace_back(core::trim(cell));
    cells.pop_back();
    cells.erase(cells.begin());
    rows.push_back(cells);
  }
  return rows;
}

const std::string& page() {
  static const std::string text = core::read_text(EVICTLAB_SOURCE_DIR "/docs/policies.md");
  return text;
}

TEST(PolicyPage, HasARowForEveryPolicyWithItsPaperNeedsAndSource) {
  for (const PolicyInfo& info : policies()) {
    const auto rows = rows_of(page(), info.name);
    ASSERT_EQ(rows.size(), 1U) << info.name;
    const std::string joined = fmt::format("{}", fmt::join(rows.front(), " | "));
    EXPECT_THAT(joined, ::testing::HasSubstr(info.definition.description));
    EXPECT_THAT(joined, ::testing::HasSubstr(info.definition.source));
    EXPECT_THAT(joined, ::testing::HasSubstr(info.paper));
    for (const trace::Field field : trace::kAllFields) {
      if (!make_policy(info.name).needs().fields.contains(field)) continue;
      EXPECT_THAT(joined, ::testing::HasSubstr(std::string(trace::field_name(field)))) << info.name;
    }
  }
}

TEST(PolicyPage, TellsEveryParameterWithDefaultRangeAndMeaning) {
  for (const PolicyInfo& info : policies()) {
    for (const Parameter& parameter : info.definition.parameters.all()) {
      const std::string row = fmt::format("| {} | `{}` | `{}` | {} | {} |", info.name, parameter.name,
                                          value_text(parameter.default_value), allowed_text(parameter), parameter.help);
      EXPECT_THAT(page(), ::testing::HasSubstr(row));
    }
  }
}

TEST(PolicyPage, NamesNoPolicyThatDoesNotExist) {
  for (const std::string& line : core::split(page(), '\n')) {
    if (!line.starts_with("| `")) continue;
    const std::string name = line.substr(3, line.find('`', 3) - 3);
    EXPECT_NO_THROW(find_policy(name)) << name;
  }
}

}  // namespace
}  // namespace evictlab::sim
