// docs/trace-format.md against fields.def: its tables of fields are the ones written here. EVICTLAB_UPDATE_DOCS=1
// writes them anew.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "core/file.hpp"
#include "core/text.hpp"
#include "trace/layer.hpp"

namespace evictlab::trace {
namespace {

constexpr const char* kPage = EVICTLAB_SOURCE_DIR "/docs/trace-format.md";
constexpr std::string_view kHeading = "| dataset | shape | type | axes | |";

std::string bracketed(std::string_view shape) { return fmt::format("[{}]", shape.substr(1, shape.size() - 2)); }

std::string field_table(Tier tier) {
  std::string table = fmt::format("{}\n| --- | --- | --- | --- | --- |\n", kHeading);
  for (const FieldInfo& info : kFieldTable) {
    if (info.tier != tier) continue;
    table += fmt::format("| `{}` | {} | {} | {} | {}{}|\n", info.name, bracketed(info.shape),
                         elements_name(info.elements), info.axes, info.meaning, info.meaning.empty() ? "" : " ");
  }
  return table;
}

// The page with its tables of fields replaced by these, in order.
std::string with_tables(const std::string& page, std::vector<std::string> tables) {
  std::string out;
  bool in_table = false;
  for (const std::string& line : core::split(page, '\n')) {
    if (line == kHeading && !tables.empty()) {
      out += tables.front();
      tables.erase(tables.begin());
      in_table = true;
    }
    in_table = in_table && line.starts_with('|');
    if (!in_table) out += line + '\n';
  }
  out.pop_back();  // the page ends with a newline, behind which split() sees an empty line
  return out;
}

TEST(TraceFormatPage, HasTheTableOfEachTiersFields) {
  const std::string page = core::read_text(kPage);
  const std::string expected =
      with_tables(page, {field_table(Tier::kSummary), field_table(Tier::kFull), field_table(Tier::kExtra)});
  if (std::getenv("EVICTLAB_UPDATE_DOCS") != nullptr) core::write_text(kPage, expected);
  EXPECT_EQ(page, expected) << "rewrite it with EVICTLAB_UPDATE_DOCS=1";
  EXPECT_THAT(page, ::testing::HasSubstr(field_table(Tier::kSummary)));
  EXPECT_THAT(page, ::testing::HasSubstr(field_table(Tier::kFull)));
  EXPECT_THAT(page, ::testing::HasSubstr(field_table(Tier::kExtra)));
}

TEST(FieldTable, IsInTheOrderOfTheEnumeration) {
  for (std::size_t i = 0; i < std::size(kAllFields); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(kAllFields[i]), i);
    EXPECT_EQ(kFieldTable[i].field, kAllFields[i]);
  }
}

TEST(FieldTable, NamesAsManyAxesAsTheShapeHas) {
  LayerShape shape;
  for (const FieldInfo& info : kFieldTable) {
    const std::size_t axes = core::split(std::string(info.axes), ',').size();
    EXPECT_EQ(axes, core::split(std::string(info.shape), ',').size()) << info.name;
    EXPECT_EQ(axes, field_shape(info.field, shape).two_dimensional ? 2U : 3U) << info.name;
  }
}

}  // namespace
}  // namespace evictlab::trace
