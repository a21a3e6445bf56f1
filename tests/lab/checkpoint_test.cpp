#include "lab/checkpoint.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "core/error.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::lab {
namespace {

results::Table table_with(std::int64_t value) {
  results::Table table({"prompt", "value"});
  table.add_row({std::string("p"), value});
  return table;
}

void write_part(PromptCheckpoint& checkpoint, const std::string& prompt, std::int64_t value) {
  const results::Table table = table_with(value);
  checkpoint.write(prompt, {{{"values", &table}}, {{"snapkv: tied", {1, 2.0}}}});
}

TEST(Checkpoint, MergesPromptsInTheirOrderAndAddsUpNotes) {
  const testing::TemporaryDirectory directory;
  for (const bool in_memory : {false, true}) {
    PromptCheckpoint checkpoint(in_memory ? std::nullopt : std::optional(directory.path()), "sweep");
    checkpoint.open({{"budgets", "64"}}, false);
    write_part(checkpoint, "b", 2);
    write_part(checkpoint, "a", 1);
    EXPECT_TRUE(checkpoint.contains("a"));
    EXPECT_FALSE(checkpoint.contains("c"));
    const PromptCheckpoint::Merged merged = checkpoint.merge({"a", "b"});
    EXPECT_EQ(merged.tables.at("values"), "prompt,value\np,1\np,2\n");
    EXPECT_EQ(merged.notes.at("snapkv: tied").runs, 2U);
    EXPECT_EQ(merged.notes.at("snapkv: tied").slots, 4.0);
  }
}

TEST(Checkpoint, ResumesWithTheSameSettingsAndRefusesOthers) {
  const testing::TemporaryDirectory directory;
  {
    PromptCheckpoint first(directory.path(), "sweep");
    first.open({{"budgets", "64"}}, false);
    write_part(first, "a", 1);
    EXPECT_THROW(PromptCheckpoint(directory.path(), "sweep").open({{"budgets", "64"}}, false), core::InputError);
  }
  PromptCheckpoint again(directory.path(), "sweep");
  again.open({{"budgets", "64"}}, false);
  EXPECT_TRUE(again.contains("a"));
  EXPECT_THROW(again.open({{"budgets", "96"}}, false), core::InputError);
  EXPECT_THROW(PromptCheckpoint(directory.path(), "validate").open({}, false), core::InputError);
  again.open({{"budgets", "96"}}, true);
  EXPECT_FALSE(again.contains("a"));
}

TEST(Checkpoint, ReportsADamagedPart) {
  const testing::TemporaryDirectory directory;
  PromptCheckpoint checkpoint(directory.path(), "sweep");
  checkpoint.open({}, false);
  write_part(checkpoint, "a", 1);
  for (const auto& entry : std::filesystem::directory_iterator(directory.path() / "parts")) {
    if (entry.path().stem() != "sweep") std::ofstream(entry.path()) << "{";
  }
  EXPECT_THROW(checkpoint.contains("a"), core::InputError);
}

}  // namespace
}  // namespace evictlab::lab
