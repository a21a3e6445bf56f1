#include "results/table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace evictlab::results {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string error_of(const std::string& csv) {
  try {
    Table::from_csv(csv, "x.csv");
  } catch (const TableError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Table, WritesHeaderEmptyCellsNumbersAndQuotedText) {
  Table table({"prompt", "slots", "loss"});
  table.add_row({"a,b", std::int64_t{128}, 0.1});
  table.add_row({"say \"hi\"", std::int64_t{-1}, std::monostate{}});
  EXPECT_EQ(table.to_csv(), "prompt,slots,loss\n\"a,b\",128,0.1\n\"say \"\"hi\"\"\",-1,\n");
}

TEST(Table, NumbersAreShortestAndReadBackTheSame) {
  const double numbers[] = {
      0.1, 1.0 / 3, 5e-324, -0.0, 1e300, 123456789.25, std::numeric_limits<double>::max(), std::nextafter(1.0, 2.0)};
  Table table({"x"});
  for (const double x : numbers) table.add_row({x});
  EXPECT_THAT(table.to_csv(), HasSubstr("\n0.1\n0.3333333333333333\n5e-324\n-0"));
  const Table read = Table::from_csv(table.to_csv(), "x.csv");
  ASSERT_EQ(read.rows(), std::size(numbers));
  for (std::size_t i = 0; i < std::size(numbers); ++i) {
    EXPECT_EQ(read.number(i, 0), numbers[i]);
    EXPECT_EQ(std::signbit(*read.number(i, 0)), std::signbit(numbers[i]));
  }
}

TEST(Table, TextReadsBackUnchangedEvenIfItLooksLikeANumberOrHoldsNewlines) {
  Table table({"id", "note"});
  const std::string texts[] = {"007", "1.50", "1e5", " a ", "two\nlines", "cr\rcell", "\"", "naïve", "nan", "+1"};
  for (const std::string& text : texts) table.add_row({text, std::monostate{}});
  const Table read = Table::from_csv(table.to_csv(), "x.csv");
  ASSERT_EQ(read.rows(), std::size(texts));
  for (std::size_t i = 0; i < std::size(texts); ++i) EXPECT_EQ(read.text(i, 0), texts[i]);
  EXPECT_EQ(read.to_csv(), table.to_csv());
}

TEST(Table, TextsThatSpreadsheetsWouldRunGetAnApostropheAndReadBackUnchanged) {
  const std::string texts[] = {"=1+1", "+1",    "-x", "@SUM(A1)", "\t=1", "\r=1",  "\n=1", "'=1",
                               "''=1", "'text", "'",  "-nan",     "--",   "'-1.5", "= ",   "=\"a,b\""};
  Table table({"x"});
  for (const std::string& text : texts) table.add_row({text});
  EXPECT_THAT(table.to_csv(), HasSubstr("x\n'=1+1\n'+1\n'-x\n'@SUM(A1)\n"));
  const Table read = Table::from_csv(table.to_csv(), "x.csv");
  ASSERT_EQ(read.rows(), std::size(texts));
  for (std::size_t i = 0; i < std::size(texts); ++i) EXPECT_EQ(read.text(i, 0), texts[i]);
  EXPECT_EQ(read.to_csv(), table.to_csv());
}

TEST(Table, NumbersGetNoApostrophe) {
  Table table({"x"});
  table.add_row({-1.5});
  table.add_row({std::int64_t{-1}});
  table.add_row({"-1.50"});
  EXPECT_EQ(table.to_csv(), "x\n-1.5\n-1\n-1.50\n");
}

TEST(Table, AnyBytesReadBackUnchanged) {
  std::mt19937 random(3);
  Table table({"a", "b"});
  std::vector<std::string> texts;
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (std::size_t length = 1 + random() % 6; text.size() < length;) {
      text += random() % 2 == 0 ? "',\"=-+@\r\n\t"[random() % 10] : static_cast<char>(random() % 256);
    }
    texts.push_back(text);
    table.add_row({text, std::int64_t{i}});
  }
  const Table read = Table::from_csv(table.to_csv(), "x.csv");
  ASSERT_EQ(read.rows(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(read.text(i, 0), texts[i]) << i;
}

TEST(Table, NumberReadsNumbersHoweverWrittenAndNothingFromAnEmptyCell) {
  const Table table = Table::from_csv("a,b,c,d\n3,1.50,,x\n", "x.csv");
  EXPECT_EQ(table.number(0, 0), 3.0);
  EXPECT_EQ(table.number(0, 1), 1.5);
  EXPECT_EQ(table.number(0, 2), std::nullopt);
  EXPECT_THROW(table.number(0, 3), TableError);
}

TEST(Table, AOneColumnTableKeepsItsEmptyCells) {
  Table table({"x"});
  table.add_row({std::monostate{}});
  table.add_row({std::int64_t{1}});
  const Table read = Table::from_csv(table.to_csv(), "x.csv");
  ASSERT_EQ(read.rows(), 2U);
  EXPECT_EQ(read.number(0, 0), std::nullopt);
}

TEST(Table, ReadsWindowsLineEndsAndAMissingLastNewline) {
  const Table table = Table::from_csv("a,b\r\n1,2\r\n3,4", "x.csv");
  EXPECT_THAT(table.columns(), ElementsAre("a", "b"));
  ASSERT_EQ(table.rows(), 2U);
  EXPECT_EQ(table.number(1, 1), 4.0);
}

TEST(Table, AMissingColumnIsReportedWithThoseThereAre) {
  const Table table = Table::from_csv("layer,head\n0,1\n", "budgets.csv");
  EXPECT_EQ(table.column("head"), 1U);
  try {
    table.column("slots");
    FAIL();
  } catch (const TableError& error) {
    EXPECT_STREQ(error.what(), "budgets.csv: there is no column 'slots'; it has layer, head");
  }
}

TEST(Table, BadTablesAreReportedWithTheirLine) {
  EXPECT_THAT(error_of(""), HasSubstr("x.csv: not a table"));
  EXPECT_THAT(error_of("a,b\n1,2\n1,2,3\n"), AllOf(HasSubstr("x.csv: line 3"), HasSubstr("3 cells")));
  EXPECT_THAT(error_of("a,b\n\"x\ny\",2\n1\n"), HasSubstr("line 4"));  // the quoted newline counts
  EXPECT_THAT(error_of("a,a\n"), HasSubstr("two columns are named 'a'"));
  EXPECT_THAT(error_of("a,\n"), HasSubstr("column 2 has no name"));
  EXPECT_THAT(error_of("a,b\n1,\"open\n"), HasSubstr("line 2"));
  EXPECT_THAT(error_of("a,b\n1,x\"y\n"), HasSubstr("line 2"));  // a quote inside an unquoted cell
  EXPECT_THAT(error_of(std::string("\x89PNG\r\n\x1a\n\0\0\0", 11)), HasSubstr("not a table"));
}

TEST(Table, RefusesRowsThatDoNotFit) {
  Table table({"a", "b"});
  EXPECT_THROW(table.add_row({1.0}), std::invalid_argument);
  EXPECT_THROW(table.add_row({1.0, std::nan("")}), std::invalid_argument);
  EXPECT_THROW(table.add_row({1.0, std::numeric_limits<double>::infinity()}), std::invalid_argument);
}

}  // namespace
}  // namespace evictlab::results
