#include "trace/io/retention_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>

#include "testing/temporary_directory.hpp"
#include "trace/io/hdf5/file.hpp"

namespace evictlab::trace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(RetentionWriter, RunsComeBackAsWritten) {
  const testing::TemporaryDirectory directory;
  RetentionWriter writer(directory / "kept.h5", "evictlab replay t.h5", false);
  writer.begin_run("snapkv(window=32,kernel=7)", "0.05", "a/b", "kv");
  // Head 0 keeps 3 and 1 (storage order), head 1 nothing, head 2 keeps 7.
  writer.write_layer(2, std::array<std::int32_t, 3>{3, 1, 7}, std::array<std::int64_t, 4>{0, 2, 2, 3},
                     std::array<std::int64_t, 3>{2, 1, 1});
  writer.begin_run("full", "128", "c", "kv");
  writer.write_layer(0, {}, std::array<std::int64_t, 2>{0, 0}, std::array<std::int64_t, 1>{0});
  EXPECT_FALSE(std::filesystem::exists(directory / "kept.h5"));
  writer.finish();

  const hdf5::File file = hdf5::File::open(directory / "kept.h5");
  EXPECT_EQ(file.text("/", "format"), "evictlab-retention");
  EXPECT_EQ(file.integer("/", "format_version"), 1);
  EXPECT_EQ(file.text("/", "command"), "evictlab replay t.h5");
  EXPECT_EQ(file.text("/0", "policy"), "snapkv(window=32,kernel=7)");
  EXPECT_EQ(file.text("/0", "budget"), "0.05");
  EXPECT_EQ(file.text("/0", "prompt"), "a/b");
  EXPECT_EQ(file.text("/0", "granularity"), "kv");
  EXPECT_THAT(file.integers("/0", "layers"), ElementsAre(2));
  EXPECT_THAT(file.read<std::int32_t>("/0/2/positions"), ElementsAre(3, 1, 7));
  EXPECT_THAT(file.read<std::int64_t>("/0/2/offsets"), ElementsAre(0, 2, 2, 3));
  EXPECT_THAT(file.read<std::int64_t>("/0/2/budgets"), ElementsAre(2, 1, 1));
  EXPECT_TRUE(file.read<std::int32_t>("/1/0/positions").empty());
}

TEST(RetentionWriter, OffsetsMustDivideThePositions) {
  const testing::TemporaryDirectory directory;
  RetentionWriter writer(directory / "kept.h5", "", false);
  EXPECT_THROW(writer.write_layer(0, {}, std::array<std::int64_t, 1>{0}, {}), std::logic_error);
  writer.begin_run("full", "1", "a", "layer");
  const std::array<std::int32_t, 2> positions{0, 1};
  const std::array<std::int64_t, 1> budgets{2};
  EXPECT_THROW(writer.write_layer(0, positions, std::array<std::int64_t, 2>{0, 1}, budgets), std::invalid_argument);
  EXPECT_THROW(writer.write_layer(0, positions, std::array<std::int64_t, 2>{1, 2}, budgets), std::invalid_argument);
  EXPECT_THROW(writer.write_layer(0, positions, std::array<std::int64_t, 1>{2}, budgets), std::invalid_argument);
  EXPECT_NO_THROW(writer.write_layer(0, positions, std::array<std::int64_t, 2>{0, 2}, budgets));
}

TEST(RetentionWriter, WhatIsThereIsKeptUnlessForced) {
  const testing::TemporaryDirectory directory;
  std::ofstream(directory / "kept.h5") << "mine";
  EXPECT_THAT([&] { RetentionWriter(directory / "kept.h5", "", false); },
              ThrowsMessage<TraceError>(HasSubstr("exists already")));
  { RetentionWriter unfinished(directory / "kept.h5", "", true); }
  EXPECT_EQ(std::filesystem::file_size(directory / "kept.h5"), 4U);
  EXPECT_FALSE(std::filesystem::exists(directory / "kept.h5.tmp"));
  RetentionWriter(directory / "kept.h5", "", true).finish();
  EXPECT_EQ(hdf5::File::open(directory / "kept.h5").text("/", "format"), "evictlab-retention");
}

}  // namespace
}  // namespace evictlab::trace
