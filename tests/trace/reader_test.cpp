#include "trace/io/reader.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>
#include <thread>

#include "sample.hpp"
#include "testing/temporary_directory.hpp"
#include "trace/io/digest.hpp"
#include "trace/io/hdf5/file.hpp"
#include "trace/io/verify.hpp"
#include "trace/io/writer.hpp"

namespace evictlab::trace {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::ThrowsMessage;

class TraceReaderTest : public ::testing::Test {
 protected:
  TraceReaderTest() : path_(directory_ / "t.h5") {
    WriterOptions options;
    options.path = path_;
    TraceWriter writer(options, sample_model());
    for (Index layer = 0; layer < 3; ++layer) writer.write_output_weight(layer, sample_output_weight(layer));
    for (std::uint32_t i = 0; i < 3; ++i) writer.write_prompt(sample_prompt("p" + std::to_string(i), i));
    writer.finish();
  }

  template <typename Change>
  void change(const Change& apply) {
    hdf5::File file = hdf5::File::open_for_change(path_);
    apply(file);
    seal_groups(file, "/");
    file.close();
  }

  void expect_refused(const std::string& message) const {
    EXPECT_THAT([&] { TraceReader reader(path_); },
                ThrowsMessage<TraceError>(AllOf(HasSubstr(message), HasSubstr("t.h5"), Not(HasSubstr("\n")))));
  }

  testing::TemporaryDirectory directory_;
  fs::path path_;
};

TEST_F(TraceReaderTest, ReadsOnlyTheFieldsAsked) {
  const TraceReader reader(path_);
  const LayerData layer = reader.layer(1, 2, Field::kKeys | Field::kAttentionMass);
  EXPECT_FALSE(layer.keys.empty());
  EXPECT_FALSE(layer.attention_mass.empty());
  EXPECT_TRUE(layer.values.empty());
  EXPECT_TRUE(layer.window_attention.empty());
  EXPECT_EQ(layer.query_count, 0);
  EXPECT_EQ(reader.layer(1, 2, Field::kQueryMean).query_count, 33);
  EXPECT_EQ(layer.shape.layer, 2);
  EXPECT_EQ(layer.shape.layers, 3);
}

TEST_F(TraceReaderTest, ManyThreadsReadTheSame) {
  const TraceReader reader(path_);
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < 6; ++i) {
    threads.emplace_back([&reader, i] {
      const MemoryTrace::Prompt expected = sample_prompt("p" + std::to_string(i % 3), i % 3);
      for (Index layer = 0; layer < 3; ++layer) {
        expect_equal(reader.layer(i % 3, layer, kSampleFields), expected.layers[static_cast<std::size_t>(layer)]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(TraceReaderTest, WhatWasReadOutlivesTheReaderAndTheFile) {
  std::vector<LayerData> layers;
  {
    const TraceReader reader(path_);
    for (Index layer = 0; layer < 3; ++layer) layers.push_back(reader.layer(2, layer, kSampleFields));
  }
  fs::remove(path_);
  const MemoryTrace::Prompt expected = sample_prompt("p2", 2);
  for (std::size_t layer = 0; layer < 3; ++layer) expect_equal(layers[layer], expected.layers[layer]);
}

// Whether a trace whose first prompt is `expected` reads as it, and how many of its arrays are used in the file.
int expect_reads_as(const fs::path& path, const MemoryTrace::Prompt& expected) {
  const TraceReader reader(path);
  int in_place = 0;
  for (std::size_t layer = 0; layer < expected.layers.size(); ++layer) {
    const LayerData data = reader.layer(0, static_cast<Index>(layer), kSampleFields);
    expect_equal(data, expected.layers[layer]);
    for (const Field field : kAllFields) in_place += data[field].is_borrowed() ? 1 : 0;
  }
  return in_place;
}

TEST_F(TraceReaderTest, ArraysOfAtLeast4KiBAreUsedInTheFileOthersWhereTheyFit) {
  // A text of any length before the arrays shifts those that are not aligned on purpose.
  int in_place = 0;
  for (const std::size_t length : {1, 2, 3, 4}) {
    Sample sample;
    sample.prompt_length = 300;  // window attention: 6 * 9 * 300 * 2 bytes; masses 6 * 300 * 4
    sample.spans = {{std::string(length, 's'), 0, 4}};
    WriterOptions options;
    options.path = directory_ / fmt::format("{}.h5", length);
    options.keep_parts = length == 3;
    TraceWriter writer(options, sample_model());
    const MemoryTrace::Prompt prompt = sample_prompt("a", 1, sample);
    writer.write_prompt(prompt);
    const int here = expect_reads_as(writer.finish(), prompt);
    EXPECT_GE(here, 3 * 7);  // all but query_mean [6, 5] and query_covariance [6, 5, 5]
    in_place += here;
  }
  EXPECT_LE(in_place, 4 * 3 * std::ssize(kAllFields));
}

TEST_F(TraceReaderTest, DamageToAnArrayUsedInTheFileIsFoundWhenItIsRead) {
  Sample sample;
  sample.prompt_length = 300;
  const MemoryTrace::Prompt prompt = sample_prompt("a", 1, sample);
  WriterOptions options;
  options.path = directory_ / "long.h5";
  TraceWriter writer(options, sample_model());
  writer.write_prompt(prompt);
  const TraceReader reader(writer.finish());
  EXPECT_TRUE(reader.layer(0, 0, Field::kKeys).keys.is_borrowed());
  flip_bit(options.path, {reinterpret_cast<const char*>(prompt.layers[0].keys.bytes().data()), 16});
  EXPECT_THAT([&] { reader.layer(0, 0, Field::kKeys); },
              ThrowsMessage<TraceError>(HasSubstr("/prompts/a/layers/0/keys: damaged")));
}

TEST_F(TraceReaderTest, ListsEveryDatasetWithItsMeaning) {
  const std::vector<TraceReader::DatasetInfo> datasets = TraceReader(path_).datasets();
  EXPECT_EQ(datasets.size(), 3U + 3 * (2 + 3 * kSampleFieldCount));
  const auto found =
      std::ranges::find(datasets, "/prompts/p1/layers/0/window_attention", &TraceReader::DatasetInfo::path);
  ASSERT_NE(found, datasets.end());
  EXPECT_EQ(found->shape, "[6, 9, 37]");
  EXPECT_EQ(found->type, "float16");
  EXPECT_EQ(found->axes, "query_head, window_query, position");
  EXPECT_EQ(found->unit, "probability * scale");
  EXPECT_EQ(found->bytes, 6U * 9 * 37 * 2);
}

TEST_F(TraceReaderTest, AnotherFormatOrVersionIsNamed) {
  change([](hdf5::File& file) { file.set_integer("/", "format_version", 3); });
  expect_refused("trace format version 3, but this program reads versions 1 to 2");
  change([](hdf5::File& file) { file.set_text("/", "format", "evictlab-golden"); });
  expect_refused("format is \"evictlab-golden\", expected \"evictlab-trace\"");
  hdf5::File::create(path_).close();
  expect_refused("not a trace: the root has no attribute format");
}

TEST_F(TraceReaderTest, SizesThatMakeNoSenseAreRefused) {
  change([](hdf5::File& file) { file.set_integer("/", "kv_heads", 4); });
  expect_refused("6 query heads cannot share 4 kv heads evenly");
  change([](hdf5::File& file) { file.set_integer("/", "kv_heads", 0); });
  expect_refused("kv_heads is 0");
  change([](hdf5::File& file) {
    file.set_integer("/", "kv_heads", 2);
    file.set_integer("/prompts/p0", "prompt_length", 1LL << 62);
  });
  expect_refused("prompt_length is 4611686018427387904");
  change([](hdf5::File& file) {
    file.set_integer("/prompts/p0", "prompt_length", 37);
    file.set_text("/prompts/p0", "tier", "half");
  });
  expect_refused("tier is 'half', must be summary or full");
}

TEST_F(TraceReaderTest, DataThatContradictsTheAttributesIsRefusedWhenRead) {
  // Sizes within all limits, of exabytes: the dataset's own shape decides before anything is allocated.
  change([](hdf5::File& file) {
    file.set_integer("/prompts/p0", "prompt_length", 2000000000);
    file.set_integer("/prompts/p0", "window", 1000000000);
  });
  const TraceReader reader(path_);
  EXPECT_THAT([&] { reader.layer(0, 0, Field::kWindowAttention); },
              ThrowsMessage<TraceError>(HasSubstr("shape [6, 9, 37], expected [6, 1000000000, 2000000000]")));
  EXPECT_THROW(reader.tokens(0), TraceError);
  EXPECT_NO_THROW(reader.layer(1, 0, Field::kWindowAttention));
}

TEST_F(TraceReaderTest, AWrongTypeOrScaleIsRefusedWhenRead) {
  change([](hdf5::File& file) {
    file.set_number("/prompts/p0/layers/0/window_attention", "scale", 3.0);
    file.set_number("/prompts/p0/layers/0/output_gradients", "scale", 3.0);
    file.set_integer("/prompts/p0/layers/0/query_mean", "count", 38);
  });
  const TraceReader reader(path_);
  EXPECT_THAT([&] { reader.layer(0, 0, Field::kWindowAttention); },
              ThrowsMessage<TraceError>(HasSubstr("scale 3, expected 1 or 32768")));
  EXPECT_THAT([&] { reader.layer(0, 0, Field::kOutputGradients); },
              ThrowsMessage<TraceError>(HasSubstr("scale 3, expected a power of two")));
  EXPECT_THAT([&] { reader.layer(0, 0, Field::kQueryMean); }, ThrowsMessage<TraceError>(HasSubstr("count 38")));
}

TEST_F(TraceReaderTest, UnknownAdditionsAreIgnored) {
  change([](hdf5::File& file) {
    file.set_text("/", "mood", "good");
    file.set_integer("/prompts/p0", "temperature", 1);
    file.create_group("/prompts/p0/extra");
    file.create_group("/statistics");
  });
  EXPECT_EQ(TraceReader(path_).prompts().size(), 3U);
}

TEST_F(TraceReaderTest, IncompletePromptsAreLeftOut) {
  change([](hdf5::File& file) { file.set_integer("/prompts/p1", "complete", 0); });
  const TraceReader reader(path_);
  ASSERT_EQ(reader.prompts().size(), 2U);
  EXPECT_EQ(reader.prompts()[1].id, "p2");
}

TEST_F(TraceReaderTest, WhatIsNoTraceIsOneClearLine) {
  EXPECT_THAT([&] { TraceReader(directory_ / "none.h5"); }, ThrowsMessage<TraceError>(HasSubstr("no such file")));
  EXPECT_THAT([&] { TraceReader(directory_.path()); }, ThrowsMessage<TraceError>(HasSubstr("holds model.h5")));
  std::ofstream(directory_ / "noise.h5") << std::string(100000, '\x5a');
  EXPECT_THAT([&] { TraceReader(directory_ / "noise.h5"); }, ThrowsMessage<TraceError>(HasSubstr("not an HDF5 file")));
  EXPECT_THAT(verify_trace(directory_ / "none.h5"), ::testing::ElementsAre(HasSubstr("no such file")));
}

TEST_F(TraceReaderTest, APathWithoutATraceButWithPartsIsExplained) {
  WriterOptions options;
  options.path = directory_ / "running.h5";
  const TraceWriter writer(options, sample_model());
  EXPECT_THAT([&] { TraceReader(directory_ / "running.h5"); },
              ThrowsMessage<TraceError>(HasSubstr("running.h5.parts")));
}

TEST_F(TraceReaderTest, TruncatedAnywhereItIsRefused) {
  const auto size = fs::file_size(path_);
  for (const std::uintmax_t cut : {size - 1, size / 2, size / 7, std::uintmax_t{2048}, std::uintmax_t{100}}) {
    fs::copy_file(path_, directory_ / "cut.h5", fs::copy_options::overwrite_existing);
    fs::resize_file(directory_ / "cut.h5", cut);
    EXPECT_THROW(TraceReader(directory_ / "cut.h5"), TraceError) << cut;
  }
}

// Reads everything there is to read.
void read_all(const fs::path& path) {
  const TraceReader reader(path);
  for (Index prompt = 0; prompt < static_cast<Index>(reader.prompts().size()); ++prompt) {
    reader.tokens(prompt);
    for (const Index layer : reader.prompts()[static_cast<std::size_t>(prompt)].layers) {
      reader.layer(prompt, layer, reader.prompts()[static_cast<std::size_t>(prompt)].recorded());
    }
  }
  reader.output_weight(1);
}

TEST(DamagedTrace, AnyFlippedByteIsReadOrRefusedAndVerifyFindsIt) {
  const testing::TemporaryDirectory directory;
  Sample sample;
  sample.layers = {1};
  {
    WriterOptions options;
    options.path = directory / "t.h5";
    TraceWriter writer(options, sample_model());
    writer.write_output_weight(1, sample_output_weight(1));
    writer.write_prompt(sample_prompt("a", 1, sample));
    writer.finish();
  }
  std::ifstream original(directory / "t.h5", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(original), {}};
  std::mt19937 random(7);
  int found = 0;
  int silent = 0;
  for (int round = 0; round < 100; ++round) {
    std::string damaged = bytes;
    const std::size_t place = random() % damaged.size();
    damaged[place] = static_cast<char>(damaged[place] ^ (1 << (random() % 8)));
    const fs::path copy = directory / "damaged.h5";
    std::ofstream(copy, std::ios::binary | std::ios::trunc) << damaged;
    try {
      read_all(copy);
    } catch (const TraceError& error) {
      EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
    }
    (verify_trace(copy).empty() ? silent : found) += 1;
  }
  // Bytes that belong to nothing (gaps, spare room in HDF5's structures) may change unnoticed.
  EXPECT_GT(found, 3 * silent) << silent << " of 100 flips were not noticed";
}

}  // namespace
}  // namespace evictlab::trace
