#include "core/file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::core {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no InputError";
}

class File : public ::testing::Test {
 protected:
  evictlab::testing::TemporaryDirectory directory_;
};

TEST_F(File, WhatIsWrittenIsRead) {
  const std::string content("line\nnul:\0:nul", 14);
  write_text(directory_ / "a.txt", content);
  EXPECT_EQ(read_text(directory_ / "a.txt"), content);
  EXPECT_EQ(text_of(MappedFile(directory_ / "a.txt")), content);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "a.txt.tmp"));
}

TEST_F(File, WritingReplacesTheOldContent) {
  write_text(directory_ / "a.txt", "a long first version");
  write_text(directory_ / "a.txt", "short");
  EXPECT_EQ(read_text(directory_ / "a.txt"), "short");
}

TEST_F(File, LargeTextsAreReadWhole) {
  std::string content;
  while (content.size() < 300'000) content += std::to_string(content.size()) + "\n";
  write_text(directory_ / "a.txt", content);
  EXPECT_EQ(read_text(directory_ / "a.txt"), content);
}

TEST_F(File, AnEmptyFileHasNoBytes) {
  write_text(directory_ / "empty", "");
  EXPECT_TRUE(MappedFile(directory_ / "empty").bytes().empty());
  EXPECT_EQ(read_text(directory_ / "empty"), "");
}

TEST_F(File, APartThatWasReleasedCanBeReadAgain) {
  std::string content;
  while (content.size() < 100'000) content += std::to_string(content.size()) + "\n";
  write_text(directory_ / "a", content);
  const MappedFile file(directory_ / "a");
  for (const auto& [first, count] : {std::pair<std::size_t, std::size_t>{0, 100'000}, {5000, 20'000}, {4097, 3}}) {
    EXPECT_EQ(text_of(file), content);
    file.release(file.bytes().subspan(first, count));
  }
  EXPECT_EQ(text_of(file), content);
}

TEST_F(File, AMappingMovesWithItsOwner) {
  write_text(directory_ / "a", "first");
  write_text(directory_ / "b", "second");
  MappedFile a(directory_ / "a");
  MappedFile moved(std::move(a));
  EXPECT_EQ(text_of(moved), "first");
  moved = MappedFile(directory_ / "b");
  EXPECT_EQ(text_of(moved), "second");
  EXPECT_EQ(moved.path(), directory_ / "b");
}

TEST_F(File, AMissingFileIsNamedWithTheReason) {
  const auto path = directory_ / "missing";
  for (const auto& message : {message_of([&] { MappedFile file(path); }), message_of([&] { read_text(path); })}) {
    EXPECT_THAT(message, AllOf(HasSubstr(path.string()), HasSubstr("No such file"), Not(HasSubstr("\n"))));
  }
}

TEST_F(File, ADirectoryIsNoFile) {
  EXPECT_THAT(message_of([&] { MappedFile file(directory_.path()); }), HasSubstr("not a regular file"));
  EXPECT_THAT(message_of([&] { read_text(directory_.path()); }), HasSubstr("directory"));
}

TEST_F(File, ANamedPipeIsRefusedWithoutWaitingForAWriter) {
  const auto path = directory_ / "pipe";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(message_of([&] { MappedFile file(path); }), HasSubstr("not a regular file"));
}

TEST_F(File, TextsAreReadFromRegularFilesOfBoundedSizeAlone) {
  EXPECT_THAT(message_of([] { read_text("/dev/zero"); }), HasSubstr("not a regular file"));
  const auto pipe = directory_ / "text pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(message_of([&] { read_text(pipe); }), HasSubstr("not a regular file"));
  write_text(directory_ / "sparse", "");
  std::filesystem::resize_file(directory_ / "sparse", (std::uintmax_t{4} << 30U) + 1);
  EXPECT_THAT(message_of([&] { read_text(directory_ / "sparse"); }), HasSubstr("more than 4 GiB"));
}

TEST_F(File, ReadingALargeTextEndsWhenStopped) {
  write_text(directory_ / "large", std::string(std::size_t{2} << 20U, 'x'));
  write_text(directory_ / "small", "x");
  request_stop(true);
  EXPECT_THROW(read_text(directory_ / "large"), Interrupted);
  EXPECT_EQ(read_text(directory_ / "small"), "x");
  request_stop(false);
}

TEST_F(File, WritingOverSomethingElseLeavesItAndNothingBehind) {
  const auto pipe = directory_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::filesystem::create_directory(directory_ / "folder");
  EXPECT_THAT(message_of([&] { write_text(pipe, "x"); }), HasSubstr("not a regular file"));
  EXPECT_THAT(message_of([&] { write_text(directory_ / "folder", "x"); }), HasSubstr("folder"));
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  EXPECT_TRUE(std::filesystem::is_directory(directory_ / "folder"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "pipe.tmp"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "folder.tmp"));
}

TEST_F(File, WritingIntoAMissingFolderIsAnInputError) {
  EXPECT_THAT(message_of([&] { write_text(directory_.path() / "no" / "a.txt", "x"); }), HasSubstr("No such file"));
}

TEST_F(File, RenamingReplacesAndReportsAMissingSource) {
  write_text(directory_ / "from", "new");
  write_text(directory_ / "to", "old");
  rename_durably(directory_ / "from", directory_ / "to");
  EXPECT_EQ(read_text(directory_ / "to"), "new");
  EXPECT_FALSE(std::filesystem::exists(directory_ / "from"));
  EXPECT_THROW(rename_durably(directory_ / "from", directory_ / "to"), InputError);
}

TEST_F(File, FilesAndFoldersCanBeSynced) {
  write_text(directory_ / "a", "x");
  EXPECT_NO_THROW(sync_path(directory_ / "a"));
  EXPECT_NO_THROW(sync_path(directory_.path()));
  EXPECT_THROW(sync_path(directory_ / "missing"), InputError);
}

}  // namespace
}  // namespace evictlab::core
