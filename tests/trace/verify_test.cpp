#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <limits>
#include <utility>

#include "sample.hpp"
#include "testing/temporary_directory.hpp"
#include "trace/io/digest.hpp"
#include "trace/io/hdf5/file.hpp"
#include "trace/io/reader.hpp"
#include "trace/io/verify.hpp"
#include "trace/io/writer.hpp"

namespace evictlab::trace {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

// What verify_trace says of a trace with one prompt that was changed after it was written, under right hashes. The
// reader says the first of it, and the writer does not take it.
std::vector<std::string> problems_of(const std::function<void(MemoryTrace::Prompt&)>& change) {
  const testing::TemporaryDirectory directory;
  WriterOptions options;
  options.path = directory / "t.h5";
  const MemoryTrace::Prompt sound = sample_prompt("a", 1);
  MemoryTrace::Prompt changed = sound;
  change(changed);
  {
    TraceWriter writer(options, sample_model());
    for (Index layer = 0; layer < 3; ++layer) writer.write_output_weight(layer, sample_output_weight(layer));
    writer.write_prompt(sound);
    writer.finish();
  }
  std::string first;  // field of a layer that was changed
  for (std::size_t layer = 0; layer < 3; ++layer) {
    for (const Field field : kAllFields) {
      const Tensor& tensor = std::as_const(changed.layers[layer])[field];
      if (std::ranges::equal(tensor.bytes(), std::as_const(sound.layers[layer])[field].bytes())) continue;
      rewrite_field(options.path, "a", static_cast<Index>(layer), field, tensor);
      if (first.empty()) first = field_name(field);
    }
  }
  std::vector<std::string> problems = verify_trace(options.path);
  if (problems.empty()) return problems;

  const std::string problem = problems.front().substr(problems.front().find(": head ") + 2);
  const auto read = [&] {
    const TraceReader reader(options.path);
    for (Index layer = 0; layer < 3; ++layer) reader.layer(0, layer, kSampleFields);
  };
  EXPECT_THAT(read, ThrowsMessage<TraceError>(problems.front()));
  options.path = directory / "again.h5";
  TraceWriter writer(options, sample_model());
  EXPECT_THAT([&] { writer.write_prompt(changed); },
              ThrowsMessage<TraceError>(AllOf(HasSubstr("prompt 'a' layer "), HasSubstr(first + ": " + problem))));
  return problems;
}

TEST(VerifyTrace, ASoundTraceHasNoProblems) {
  EXPECT_THAT(problems_of([](MemoryTrace::Prompt&) {}), IsEmpty());
}

TEST(VerifyTrace, AttentionToALaterPositionIsFound) {
  // Row 2 of 9 is the query at 37-9+2 = 30.
  const auto problems = problems_of([](MemoryTrace::Prompt& prompt) {
    Tensor& tensor = prompt.layers[0].window_attention;
    std::vector<float> row(37);
    row[31] = 1.0F;
    tensor.set_row(4, 2, row);
  });
  EXPECT_THAT(problems, ElementsAre(HasSubstr("layers/0/window_attention: head 4: query 30 attends to position 31, but "
                                              "sees only 0 to 30")));
}

TEST(VerifyTrace, AttentionOutsideTheSlidingWindowIsFound) {
  // Layer 1's window is 12: the last query, 36, sees 25 to 36.
  for (const Index position : {24, 25}) {
    const auto problems = problems_of([position](MemoryTrace::Prompt& prompt) {
      std::vector<float> row(37);
      row[static_cast<std::size_t>(position)] = 1.0F;
      prompt.layers[1].window_attention.set_row(0, 8, row);
    });
    if (position == 24) {
      EXPECT_THAT(problems, ElementsAre(HasSubstr("query 36 attends to position 24, but sees only 25 to 36")));
    } else {
      EXPECT_THAT(problems, IsEmpty());
    }
  }
}

TEST(VerifyTrace, ARowThatDoesNotSumToOneIsFoundBeyondStoragePrecision) {
  // One probability at position 0: rounding may explain 2^-11 + 37 * 2^-25 / 2^15 + 1e-5 = 0.000498.
  for (const float sum : {1.0F, 1.0F - 0x1p-11F, 1.0F - 0x1p-10F, 0.5F}) {
    const auto problems = problems_of([sum](MemoryTrace::Prompt& prompt) {
      std::vector<float> row(37);
      row[0] = sum;
      prompt.layers[2].window_attention.set_row(5, 0, row);
    });
    if (sum > 1.0F - 0x1p-10F) {
      EXPECT_THAT(problems, IsEmpty()) << sum;
    } else {
      EXPECT_THAT(problems, ElementsAre(HasSubstr("head 5: the row of query 28 sums to 0."))) << sum;
    }
  }
}

TEST(VerifyTrace, MassThatDoesNotAddUpIsFound) {
  EXPECT_THAT(problems_of([](MemoryTrace::Prompt& prompt) { prompt.layers[0].attention_mass.floats()[0] += 0.1F; }),
              ElementsAre(HasSubstr("layers/0/attention_mass: head 0: sums to 37.1, expected 37")));
  EXPECT_THAT(problems_of([](MemoryTrace::Prompt& prompt) { prompt.layers[0].future_mass.floats()[41] -= 0.01F; }),
              ElementsAre(HasSubstr("layers/0/future_mass: head 1: sums to 3.99, expected 4")));
}

TEST(VerifyTrace, MassFromQueriesThatCannotSeeIsFound) {
  // All of the mass, on the last position, which one query sees.
  EXPECT_THAT(problems_of([](MemoryTrace::Prompt& prompt) {
                std::vector<float> row(37);
                row[36] = 37.0F;
                prompt.layers[0].attention_mass.set_row(3, 0, row);
              }),
              ElementsAre(HasSubstr("head 3: position 36 has mass 37, but only 1 queries see it")));
  // With a sliding window of 12 the first future query, 37, sees 26 and later.
  EXPECT_THAT(problems_of([](MemoryTrace::Prompt& prompt) {
                std::vector<float> row(41);
                row[25] = 4.0F;
                prompt.layers[1].future_mass.set_row(3, 0, row);
              }),
              ElementsAre(HasSubstr("head 3: position 25 has mass 4, but only 0 queries see it")));
}

TEST(VerifyTrace, ValuesThatAreNotFiniteOrNegativeAreFound) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_THAT(problems_of([&](MemoryTrace::Prompt& prompt) { prompt.layers[0].keys.floats()[7] = nan; }),
              ElementsAre(HasSubstr("layers/0/keys: head 0: nan at [1, 2]")));
  EXPECT_THAT(problems_of([&](MemoryTrace::Prompt& prompt) { prompt.layers[2].query_mean.floats()[6] = infinity; }),
              ElementsAre(HasSubstr("layers/2/query_mean: head 1: inf at [0, 1]")));
  EXPECT_THAT(problems_of([](MemoryTrace::Prompt& prompt) { prompt.layers[0].output_norms.floats()[3] = -1.0F; }),
              ElementsAre(HasSubstr("layers/0/output_norms: head 0: -1 at [0, 3]")));
  EXPECT_THAT(problems_of([](MemoryTrace::Prompt& prompt) { prompt.layers[0].query_covariance.floats()[6] = -1.0F; }),
              ElementsAre(HasSubstr("query_covariance: head 0: the variance of dimension 1 is -1")));
}

class VerifyChangedFile : public ::testing::Test {
 protected:
  VerifyChangedFile() : path_(directory_ / "t.h5") {
    WriterOptions options;
    options.path = path_;
    TraceWriter writer(options, sample_model());
    for (Index layer = 0; layer < 2; ++layer) writer.write_output_weight(layer, sample_output_weight(layer));
    Sample sample;
    sample.layers = {0, 1};
    writer.write_prompt(sample_prompt("a", 1, sample));
    writer.finish();
  }

  testing::TemporaryDirectory directory_;
  std::filesystem::path path_;
};

TEST_F(VerifyChangedFile, ChangedBytesAreFoundByTheirHash) {
  EXPECT_THAT(verify_trace(path_), IsEmpty());
  flip_bit(path_, {reinterpret_cast<const char*>(sample_output_weight(1).data()), 16});
  EXPECT_THAT(verify_trace(path_), ElementsAre(HasSubstr("/model/output_weight/1: damaged: its hash is xxh3-128:")));
}

TEST_F(VerifyChangedFile, EveryProblemIsListed) {
  hdf5::File file = hdf5::File::open_for_change(path_);
  file.set_text("/prompts/a/layers/0/keys", "axes", "position, kv_head, head_dimension");
  file.set_text("/prompts/a/layers/1/values", "hash", "xxh3-128:0");
  file.set_integer("/prompts/a/layers/1/query_mean", "count", -1);
  file.create_group("/prompts/b");
  file.set_integer("/prompts/b", "complete", 0);
  seal_groups(file, "/");
  file.close();
  EXPECT_THAT(verify_trace(path_), ElementsAre(HasSubstr("/prompts/b: is not complete"), HasSubstr("0/keys: its axes"),
                                               HasSubstr("1/values: damaged"), HasSubstr("count -1")));
}

TEST_F(VerifyChangedFile, MissingDatasetsAreFound) {
  hdf5::File file = hdf5::File::open_for_change(path_);
  const std::int64_t layers[] = {0, 1, 2};
  file.set_integers("/prompts/a", "layers", layers);
  seal_groups(file, "/");
  file.close();
  const auto problems = verify_trace(path_);
  ASSERT_EQ(problems.size(), 2 + kSampleFieldCount);
  EXPECT_THAT(problems[0], HasSubstr("/prompts/a/layers/2: is missing"));
  EXPECT_THAT(problems[1], HasSubstr("/prompts/a/layers/2/window_attention: is missing"));
  EXPECT_THAT(problems.back(), HasSubstr("/model/output_weight/2: is missing, but prompt 'a' is of the full tier"));
}

}  // namespace
}  // namespace evictlab::trace
