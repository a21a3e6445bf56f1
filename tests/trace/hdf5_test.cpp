#include "trace/io/hdf5/file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <fstream>
#include <iterator>
#include <thread>

#include "core/half.hpp"
#include "testing/temporary_directory.hpp"
#include "trace/io/hdf5/ranges.hpp"

namespace evictlab::trace::hdf5 {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

template <typename T>
std::span<const std::byte> bytes_of(const T& values) {
  return std::as_bytes(std::span(values));
}

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Hdf5File, DatasetsComeBackAsWritten) {
  const testing::TemporaryDirectory directory;
  const std::array<std::uint64_t, 2> shape{2, 3};
  const std::array floats{1.5F, -2.0F, 3.0F, 4.0F, 5.0F, 6.25F};
  std::array<core::Half, 6> halves{};
  for (std::size_t i = 0; i < 6; ++i) halves[i] = core::to_half(floats[i]);
  {
    File file = File::create(directory / "a.h5");
    file.write("/group/floats", Type::kFloat32, shape, bytes_of(floats));
    file.write("/group/halves", Type::kFloat16, shape, bytes_of(halves));
    file.write("/group/integers", Type::kInt32, shape, bytes_of(std::array{1, -2, 3, 4, 5, 6}));
    file.close();
  }
  const File file = File::open(directory / "a.h5");
  EXPECT_THAT(file.read<float>("/group/floats"), ElementsAre(1.5F, -2.0F, 3.0F, 4.0F, 5.0F, 6.25F));
  EXPECT_THAT(file.read<double>("/group/halves"), ElementsAre(1.5, -2.0, 3.0, 4.0, 5.0, 6.25));
  EXPECT_THAT(file.read<std::int64_t>("/group/integers"), ElementsAre(1, -2, 3, 4, 5, 6));
  EXPECT_EQ(file.read_bytes("/group/halves").size(), 12U);
  const Dataset info = file.dataset("/group/halves");
  EXPECT_EQ(info.type, Type::kFloat16);
  EXPECT_THAT(info.shape, ElementsAre(2, 3));
  EXPECT_EQ(info.stored_bytes, 12U);
  EXPECT_THAT(file.children("/group"), ElementsAre("floats", "halves", "integers"));
}

TEST(Hdf5File, AttributesComeBackAsWrittenAndAreReplaced) {
  const testing::TemporaryDirectory directory;
  {
    File file = File::create(directory / "a.h5");
    file.create_group("/x/y");
    file.set_text("/x/y", "text", "größer als \"1\"");
    file.set_text("/x/y", "nothing", "");
    file.set_integer("/x/y", "integer", -7);
    file.set_integer("/x/y", "integer", 1LL << 40);
    file.set_number("/x/y", "number", 0.1);
    file.set_integers("/x/y", "integers", std::array<std::int64_t, 3>{3, 1, 2});
    file.close();
  }
  const File file = File::open(directory / "a.h5");
  EXPECT_EQ(file.text("/x/y", "text"), "größer als \"1\"");
  EXPECT_EQ(file.text("/x/y", "nothing"), "");
  EXPECT_EQ(file.integer("/x/y", "integer"), 1LL << 40);
  EXPECT_EQ(file.number("/x/y", "number"), 0.1);
  EXPECT_EQ(file.number("/x/y", "integer"), 0x1p40);
  EXPECT_THAT(file.integers("/x/y", "integers"), ElementsAre(3, 1, 2));
  EXPECT_THROW(file.integer("/x/y", "text"), TraceError);
  EXPECT_THROW(file.integer("/x/y", "number"), TraceError);
  EXPECT_THROW(file.integer("/x/y", "integers"), TraceError);
  EXPECT_THROW(file.text("/x/y", "integer"), TraceError);
}

TEST(Hdf5File, TablesOfNamedRangesComeBackAsWritten) {
  const testing::TemporaryDirectory directory;
  File file = File::create(directory / "a.h5");
  const std::vector<NamedRange> ranges{{"context", 0, 100}, {"Nähe", 7, 1LL << 40}, {"", 1, 1}};
  const std::vector<std::byte> stored = write_ranges(file, "/t/spans", ranges);
  write_ranges(file, "/t/none", {});
  EXPECT_EQ(file.read_bytes("/t/spans"), stored);
  const std::vector<NamedRange> back = read_ranges(file, "/t/spans").ranges;
  ASSERT_EQ(back.size(), 3U);
  EXPECT_EQ(back[1].name, "Nähe");
  EXPECT_EQ(back[1].end, 1LL << 40);
  EXPECT_EQ(back[2].name, "");
  EXPECT_TRUE(read_ranges(file, "/t/none").ranges.empty());
}

TEST(Hdf5File, EmptyDatasetsAreAllowed) {
  const testing::TemporaryDirectory directory;
  File file = File::create(directory / "a.h5");
  file.write("/empty", Type::kInt32, std::array<std::uint64_t, 2>{0, 3}, {});
  EXPECT_TRUE(file.read<std::int32_t>("/empty").empty());
  EXPECT_THAT(file.dataset("/empty").shape, ElementsAre(0, 3));
}

TEST(Hdf5File, EqualContentGivesEqualBytes) {
  const testing::TemporaryDirectory directory;
  for (const char* name : {"a.h5", "b.h5"}) {
    File file = File::create(directory / name);
    file.write("/g/x", Type::kFloat32, std::array<std::uint64_t, 1>{2}, bytes_of(std::array{1.0F, 2.0F}));
    file.set_text("/g", "text", "same");
    file.close();
    if (name[0] == 'a') std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // time stamps count seconds
  }
  EXPECT_EQ(content(directory / "a.h5"), content(directory / "b.h5"));
}

TEST(Hdf5File, CopiesBetweenFiles) {
  const testing::TemporaryDirectory directory;
  File source = File::create(directory / "a.h5");
  source.write("/g/x", Type::kFloat32, std::array<std::uint64_t, 1>{2}, bytes_of(std::array{1.0F, 2.0F}));
  source.set_text("/g/x", "unit", "mass");
  File target = File::create(directory / "b.h5");
  target.copy_from(source, "/g", "/deep/down/g");
  EXPECT_THAT(target.read<float>("/deep/down/g/x"), ElementsAre(1.0F, 2.0F));
  EXPECT_EQ(target.text("/deep/down/g/x", "unit"), "mass");
  EXPECT_THROW(target.copy_from(source, "/missing", "/m"), TraceError);
}

TEST(Hdf5File, FailuresNameFileObjectAndReasonInOneLine) {
  const testing::TemporaryDirectory directory;
  File::create(directory / "a.h5").create_group("/g");
  const File file = File::open(directory / "a.h5");
  EXPECT_THAT([&] { file.read<float>("/g/x"); },
              ThrowsMessage<TraceError>(AllOf(HasSubstr("a.h5: /g/x: is missing"), Not(HasSubstr("\n")))));
  EXPECT_THAT([&] { file.dataset("/g"); }, ThrowsMessage<TraceError>(HasSubstr("is not a dataset")));
  EXPECT_THAT([&] { file.text("/g", "unit"); }, ThrowsMessage<TraceError>(HasSubstr("/g: the attribute unit is miss")));
  EXPECT_THAT([&] { File::open(directory / "none.h5"); }, ThrowsMessage<TraceError>(HasSubstr("no such file")));
  EXPECT_THAT([&] { File::open(directory.path()); }, ThrowsMessage<TraceError>(HasSubstr("not a regular file")));
  EXPECT_THAT([&] { File::create(directory / "no/such/place.h5"); },
              ThrowsMessage<TraceError>(
                  AllOf(HasSubstr("cannot create the file"), HasSubstr("No such file"), Not(HasSubstr("\n")))));
  std::ofstream(directory / "noise.h5") << std::string(5000, 'x');
  EXPECT_THAT([&] { File::open(directory / "noise.h5"); }, ThrowsMessage<TraceError>(HasSubstr("not an HDF5 file")));
  std::ofstream(directory / "empty.h5").flush();
  EXPECT_THAT([&] { File::open(directory / "empty.h5"); }, ThrowsMessage<TraceError>(HasSubstr("not an HDF5 file")));
}

TEST(Hdf5File, ATruncatedFileIsRefused) {
  const testing::TemporaryDirectory directory;
  const std::vector<float> values(5000, 1.0F);
  {
    File file = File::create(directory / "a.h5");
    file.write("/x", Type::kFloat32, std::array<std::uint64_t, 1>{5000}, bytes_of(values));
    file.close();
  }
  std::filesystem::resize_file(directory / "a.h5", 3000);
  EXPECT_THAT([&] { File::open(directory / "a.h5"); },
              ThrowsMessage<TraceError>(AllOf(HasSubstr("truncated file"), Not(HasSubstr("\n")))));
}

TEST(Hdf5File, NumbersAreNotReadIntoATypeThatCannotHoldThem) {
  const testing::TemporaryDirectory directory;
  File file = File::create(directory / "a.h5");
  const std::array<std::uint64_t, 1> shape{1};
  file.write("/long", Type::kInt64, shape, bytes_of(std::array<std::int64_t, 1>{1LL << 40}));
  file.write("/double", Type::kFloat64, shape, bytes_of(std::array{0.1}));
  EXPECT_THROW(file.read<std::int32_t>("/long"), TraceError);
  EXPECT_THROW(file.read<double>("/long"), TraceError);
  EXPECT_THROW(file.read<float>("/double"), TraceError);
  EXPECT_THROW(file.read<std::int64_t>("/double"), TraceError);
  EXPECT_THAT(file.read<double>("/double"), ElementsAre(0.1));
}

// Made by h5py 3.7: compressed and shuffled chunks, booleans, texts of fixed and variable length.
TEST(Hdf5File, ReadsFilesOfOtherPrograms) {
  const File file = File::open(EVICTLAB_TEST_DATA "/trace/written_by_h5py.h5");
  EXPECT_EQ(file.text("/", "axis"), "kv");
  EXPECT_EQ(file.text("/", "fixed"), "bytes");
  EXPECT_EQ(file.text("/", "empty"), "");
  EXPECT_EQ(file.integer("/", "flag"), 1);
  EXPECT_EQ(file.integer("/", "count"), 3);
  EXPECT_EQ(file.number("/", "ratio"), 0.25);
  EXPECT_THAT(file.integers("/", "sizes"), ElementsAre(3, 1, 2));
  const std::vector<float> halves = file.read<float>("/g/half");
  ASSERT_EQ(halves.size(), 24U);
  EXPECT_EQ(halves[23], 23.0F / 8);
  EXPECT_THAT(file.dataset("/g/half").shape, ElementsAre(2, 3, 4));
  EXPECT_THAT(file.read<std::uint8_t>("/g/kept"), ElementsAre(1, 0, 1, 0, 1, 255));
  EXPECT_THAT(file.read<std::int32_t>("/g/out"), ElementsAre(-1, 2, 3));
  EXPECT_THAT(file.read<double>("/g/raw"), ElementsAre(0.1, -2.5));
  EXPECT_THAT(file.read<std::uint8_t>("/g/flags"), ElementsAre(1, 0, 1));
  EXPECT_THROW(file.read<float>("/g/big_endian"), TraceError);
}

TEST(Hdf5File, LinksThatCouldLeadOutOfTheFileAreNotFollowed) {
  const File file = File::open(EVICTLAB_TEST_DATA "/trace/written_by_h5py.h5");
  EXPECT_THAT(file.children("/"), ElementsAre("g"));
  EXPECT_THROW(file.read<double>("/soft"), TraceError);
  EXPECT_THROW(file.read<double>("/external"), TraceError);
}

TEST(Hdf5File, TextsWhoseHeapIsDamagedAreRefused) {
  const testing::TemporaryDirectory directory;
  {
    File file = File::create(directory / "a.h5");
    file.set_text("/", "a", "first");
    file.set_text("/", "b", "second");
    file.close();
  }
  const std::string whole = content(directory / "a.h5");
  // The heap: "GCOL", version, reserved, size; then each text's number, references and size (at +8).
  const std::size_t heap = whole.find("GCOL");
  ASSERT_NE(heap, std::string::npos);
  const std::size_t places[] = {heap, heap + 4, heap + 8, heap + 15, heap + 16, heap + 16 + 8, heap + 16 + 15};
  for (const std::size_t place : places) {
    std::string damaged = whole;
    damaged[place] = static_cast<char>(damaged[place] ^ 0x40);
    std::ofstream(directory / "b.h5", std::ios::binary) << damaged;
    const File file = File::open(directory / "b.h5");
    EXPECT_THAT([&] { file.text("/", "a"); }, ThrowsMessage<TraceError>(HasSubstr("damaged: the attribute a")))
        << place;
    File copy = File::create(directory / "c.h5");
    EXPECT_THROW(copy.copy_from(file, "/", "/copied"), TraceError) << place;
  }
}

TEST(Hdf5File, ManyThreadsReadOneFile) {
  const testing::TemporaryDirectory directory;
  const std::array<std::uint64_t, 1> shape{1000};
  {
    File file = File::create(directory / "a.h5");
    for (int i = 0; i < 8; ++i) {
      const std::vector<float> values(1000, static_cast<float>(i));
      file.write("/" + std::to_string(i), Type::kFloat32, shape, bytes_of(values));
    }
    file.close();
  }
  const File file = File::open(directory / "a.h5");
  std::array<int, 8> good{};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round) {
        const std::vector<float> values = file.read<float>("/" + std::to_string(i));
        good[i] += values == std::vector<float>(1000, static_cast<float>(i));
        EXPECT_THROW(file.read<float>("/missing"), TraceError);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(good, ::testing::Each(50));
}

}  // namespace
}  // namespace evictlab::trace::hdf5
