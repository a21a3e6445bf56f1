// docs/policies.md against the registry. Its tables are made of it, but for the deviations, which stay as they are
// written: with EVICTLAB_UPDATE_DOCS set, this test writes them again.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/ranges.h>

#include <cstdlib>
#include <fstream>
#include <functional>

#include "core/file.hpp"
#include "core/text.hpp"
#include "sim/policy/registry.hpp"
#include "sim/policy/scores_from.hpp"

namespace evictlab::sim {
namespace {

constexpr const char* kNone = "–";

std::string row(const std::vector<std::string>& cells) { return fmt::format("| {} |\n", fmt::join(cells, " | ")); }

std::string or_none(const std::string& text) { return text.empty() ? kNone : text; }

// The last cell of the row that begins with `name` in backticks: what is written by hand.
std::string deviations_of(const std::string& page, const std::string& name) {
  for (const std::string& line : core::split(page, '\n')) {
    if (!line.starts_with(fmt::format("| `{}` |", name))) continue;
    const auto cells = core::split(line, '|');
    return std::string(core::trim(cells[cells.size() - 2]));
  }
  return kNone;
}

std::string needs_text(const Needs& needs) {
  std::vector<std::string_view> names;
  for (const trace::Field field : trace::kAllFields) {
    if (needs.fields.contains(field)) names.push_back(trace::field_name(field));
  }
  if (needs.output_weight) names.emplace_back("output_weight");
  return or_none(fmt::format("{}", fmt::join(names, ", ")));
}

// What an engine must compute for it.
std::string engine_text(const Policy& policy) {
  const Needs needs = policy.prompt_needs();
  if (needs.future || (needs.fields.empty() && !policy.scorer)) return kNone;
  return std::string(scores_from_name(scores_from(needs)));
}

std::string policy_rows(const std::string& page) {
  std::string rows;
  for (const PolicyInfo& info : policies()) {
    rows +=
        row({"`" + info.name + "`", info.definition.description, or_none(info.paper), info.definition.source,
             info.definition.from_file ? "what its scorers read" : needs_text(make_policy(info.name).needs()),
             info.definition.from_file ? kNone : engine_text(make_policy(info.name)), deviations_of(page, info.name)});
  }
  return rows;
}

// "window" of "window(window=32,...) shared per layer".
std::string part_name(const std::string& identity) { return identity.substr(0, identity.find_first_of("( ")); }

std::vector<std::string> part_names(const Policy& policy) {
  std::string scorer = policy.scorer ? part_name(policy.scorer->identity()) : kNone;
  if (policy.refiner) scorer += ", then " + part_name(policy.refiner->identity());
  return {scorer, part_name(policy.allocator->identity()), part_name(policy.selector->identity()),
          std::string(granularity_words(policy.granularity)), policy.protection.text()};
}

std::string part_rows() {
  std::string rows;
  for (const PolicyInfo& info : policies()) {
    if (info.definition.from_file) continue;
    std::vector<std::vector<std::string>> seen;
    std::vector<std::string> texts = {info.name};
    for (const Variant& variant : info.definition.variants) {
      texts.push_back(fmt::format("{}({}={})", info.name, kVariantParameter, variant.name));
    }
    for (const std::string& text : texts) {
      auto cells = part_names(make_policy(text));
      if (std::find(seen.begin(), seen.end(), cells) != seen.end()) continue;
      seen.push_back(cells);
      cells.insert(cells.begin(), text);
      rows += row(cells);
    }
  }
  return rows;
}

std::string parameter_row(const std::string& owner, const Parameter& parameter) {
  const std::string alias = parameter.alias.empty() ? "" : " (also `" + parameter.alias + "`)";
  return row({owner, "`" + parameter.name + "`" + alias, "`" + value_text(parameter.default_value) + "`",
              allowed_text(parameter), parameter.help});
}

std::string parameter_rows() {
  std::string rows;
  for (const PolicyInfo& info : policies()) {
    for (const Parameter& parameter : info.definition.parameters.all()) rows += parameter_row(info.name, parameter);
  }
  return rows;
}

template <typename Kind>
std::string rows_of_kind(const std::string& kind) {
  std::string rows;
  for (const PartInfo<Kind>& info : parts<Kind>()) {
    std::vector<std::string> names;
    for (const Parameter& parameter : info.definition.parameters.all()) names.push_back("`" + parameter.name + "`");
    rows += row({kind, info.name, info.definition.description, or_none(fmt::format("{}", fmt::join(names, ", ")))});
  }
  return rows;
}

std::string kind_rows() {
  return rows_of_kind<Scorer>("scorer") + rows_of_kind<Allocator>("allocator") + rows_of_kind<Selector>("selector") +
         rows_of_kind<DecodeRule>("decoder");
}

// The page with the rows of the table under `header` replaced.
std::string with_rows(const std::string& page, const std::string& header, const std::string& rows) {
  const std::size_t table = page.find(header);
  if (table == std::string::npos) throw std::runtime_error("no table '" + header + "'");
  const std::size_t rule = page.find('\n', table) + 1;
  const std::size_t begin = page.find('\n', rule) + 1;
  std::size_t end = begin;
  while (page.compare(end, 1, "|") == 0) end = page.find('\n', end) + 1;
  return page.substr(0, begin) + rows + page.substr(end);
}

TEST(PolicyPage, tells_every_policy_part_and_parameter_as_the_program_has_it) {
  const char* path = EVICTLAB_SOURCE_DIR "/docs/policies.md";
  const std::string page = core::read_text(path);
  std::string expected = with_rows(page, "| policy | what it does |", policy_rows(page));
  expected = with_rows(expected, "| policy | scorer |", part_rows());
  expected = with_rows(expected, "| policy | parameter |", parameter_rows());
  expected = with_rows(expected, "| kind | part |", kind_rows());
  if (std::getenv("EVICTLAB_UPDATE_DOCS") != nullptr) {
    std::ofstream(path) << expected;
    return;
  }
  EXPECT_EQ(page, expected)
      << "EVICTLAB_UPDATE_DOCS=1 evictlab_sim_tests --gtest_filter='PolicyPage.*' writes them again";
}

}  // namespace
}  // namespace evictlab::sim
