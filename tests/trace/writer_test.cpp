#include "trace/io/writer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "sample.hpp"
#include "testing/temporary_directory.hpp"
#include "trace/io/hdf5/file.hpp"
#include "trace/io/layout.hpp"
#include "trace/io/parts_directory.hpp"
#include "trace/io/reader.hpp"
#include "trace/io/verify.hpp"

namespace evictlab::trace {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

WriterOptions to(const fs::path& path) {
  WriterOptions options;
  options.path = path;
  options.command = "evictlab record 'my prompts'";
  return options;
}

WriterOptions appending(const fs::path& path) {
  WriterOptions options = to(path);
  options.append = true;
  return options;
}

void write_weights(TraceWriter& writer) {
  for (Index layer = 0; layer < 3; ++layer) writer.write_output_weight(layer, sample_output_weight(layer));
}

std::vector<std::string> ids(const Source& trace) {
  std::vector<std::string> names;
  for (const PromptInfo& prompt : trace.prompts()) names.push_back(prompt.id);
  return names;
}

std::string trace_content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A trace of both tiers' and both types' layers comes back bit by bit.
class RoundTrip : public ::testing::TestWithParam<std::tuple<Tier, ElementType, float>> {};

TEST_P(RoundTrip, EveryFieldComesBackAsWritten) {
  const testing::TemporaryDirectory directory;
  Sample sample;
  std::tie(sample.tier, sample.element_type, sample.scale) = GetParam();
  const MemoryTrace::Prompt prompt = sample_prompt("a", 1, sample);
  TraceWriter writer(to(directory / "t.h5"), sample_model());
  write_weights(writer);
  writer.write_prompt(prompt);
  EXPECT_EQ(writer.finish(), directory / "t.h5");
  EXPECT_FALSE(fs::exists(directory / "t.h5.parts"));
  EXPECT_FALSE(fs::exists(directory / "t.h5.tmp"));

  const TraceReader reader(directory / "t.h5");
  EXPECT_EQ(layout::model_difference(reader.model(), sample_model()), "");
  EXPECT_EQ(reader.model().name, "sample");
  EXPECT_EQ(reader.provenance().format_version, 2);
  EXPECT_EQ(reader.provenance().command, "evictlab record 'my prompts'");
  EXPECT_THAT(reader.provenance().writer, HasSubstr("evictlab "));
  ASSERT_EQ(reader.prompts().size(), 1U);
  const PromptInfo& info = reader.prompts()[0];
  EXPECT_EQ(info.id, "a");
  EXPECT_EQ(info.task, "needle");
  EXPECT_EQ(info.source, "sample.jsonl");
  EXPECT_EQ(info.future_kind, "generated");
  EXPECT_EQ(info.prompt_length, 37);
  EXPECT_EQ(info.future_length, 4);
  EXPECT_EQ(info.window, 9);
  EXPECT_EQ(info.tier, sample.tier);
  EXPECT_THAT(info.layers, ElementsAre(0, 1, 2));
  EXPECT_EQ(info.spans, sample.spans);
  EXPECT_EQ(reader.tokens(0), prompt.tokens);
  for (Index layer = 0; layer < 3; ++layer) {
    expect_equal(reader.layer(0, layer, info.recorded()), prompt.layers[static_cast<std::size_t>(layer)]);
    EXPECT_EQ(reader.output_weight(layer), sample_output_weight(layer));
  }
  EXPECT_THAT(verify_trace(directory / "t.h5"), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(All, RoundTrip,
                         ::testing::Combine(::testing::Values(Tier::kSummary, Tier::kFull),
                                            ::testing::Values(ElementType::kFloat16, ElementType::kFloat32),
                                            ::testing::Values(1.0F, 32768.0F)));

TEST(TraceWriter, WritesTheDocumentedLayout) {
  const testing::TemporaryDirectory directory;
  const MemoryTrace::Prompt prompt = sample_prompt("a", 1);
  {
    TraceWriter writer(to(directory / "t.h5"), sample_model());
    write_weights(writer);
    writer.write_prompt(prompt);
    writer.finish();
  }
  const hdf5::File file = hdf5::File::open(directory / "t.h5");
  EXPECT_EQ(file.text("/", "format"), "evictlab-trace");
  EXPECT_EQ(file.integer("/", "format_version"), 2);
  EXPECT_THAT(file.children("/"), ElementsAre("model", "prompts"));
  EXPECT_EQ(file.integer("/", "query_heads"), 6);
  EXPECT_THAT(file.integers("/", "sliding_windows"), ElementsAre(0, 12, 0));
  EXPECT_THAT(file.children("/prompts/a"), ElementsAre("layers", "spans", "tokens"));
  EXPECT_EQ(file.integer("/prompts/a", "complete"), 1);
  EXPECT_EQ(file.integer("/prompts/a", "index"), 0);
  EXPECT_THAT(file.children("/prompts/a/layers"), ElementsAre("0", "1", "2"));
  EXPECT_THAT(file.dataset("/model/output_weight/2").shape, ElementsAre(30, 7));

  const std::string layer = "/prompts/a/layers/1/";
  EXPECT_THAT(file.dataset(layer + "window_attention").shape, ElementsAre(6, 9, 37));
  EXPECT_THAT(file.dataset(layer + "attention_mass").shape, ElementsAre(6, 37));
  EXPECT_THAT(file.dataset(layer + "future_mass").shape, ElementsAre(6, 41));
  EXPECT_THAT(file.dataset(layer + "output_norms").shape, ElementsAre(6, 41));
  EXPECT_THAT(file.dataset(layer + "queries").shape, ElementsAre(6, 13, 5));
  EXPECT_THAT(file.dataset(layer + "keys").shape, ElementsAre(2, 41, 5));
  EXPECT_THAT(file.dataset(layer + "values").shape, ElementsAre(2, 41, 5));
  EXPECT_THAT(file.dataset(layer + "query_mean").shape, ElementsAre(6, 5));
  EXPECT_THAT(file.dataset(layer + "query_covariance").shape, ElementsAre(6, 5, 5));
  EXPECT_EQ(file.dataset(layer + "window_attention").type, hdf5::Type::kFloat16);
  EXPECT_EQ(file.number(layer + "window_attention", "scale"), 32768.0);
  EXPECT_EQ(file.text(layer + "window_attention", "axes"), "query_head, window_query, position");
  EXPECT_EQ(file.integer(layer + "query_mean", "count"), 33);
  EXPECT_THAT(file.dataset(layer + "output_gradients").shape, ElementsAre(2, 4, 7));
  EXPECT_EQ(file.number(layer + "output_gradients", "scale"), 1024.0);

  // Row-major, the last axis fastest: element [kv head 1, position 3, dimension 2] of shape [2, 41, 5].
  const std::vector<float> keys = file.read<float>(layer + "keys");
  EXPECT_EQ(keys[(1 * 41 + 3) * 5 + 2], prompt.layers[1].keys.view().copy_head(1)(3, 2));
}

TEST(TraceWriter, AStoppedAndResumedRecordingMakesTheSameFile) {
  const testing::TemporaryDirectory directory;
  {
    TraceWriter writer(to(directory / "whole.h5"), sample_model());
    write_weights(writer);
    for (const char* id : {"z", "a", "m"}) writer.write_prompt(sample_prompt(id, 1));
    writer.finish();
  }
  {
    TraceWriter writer(to(directory / "torn.h5"), sample_model());
    write_weights(writer);
    writer.write_prompt(sample_prompt("z", 1));
    const PromptWriter torn = writer.begin_prompt(sample_prompt("a", 1).info, sample_prompt("a", 1).tokens);
  }
  EXPECT_THAT(ids(TraceReader(directory / "torn.h5.parts")), ElementsAre("z"));
  EXPECT_THAT(verify_trace(directory / "torn.h5.parts"), IsEmpty());
  // What a killed process leaves: a file that is not closed.
  std::ofstream(directory / "torn.h5.parts/m.h5.tmp") << "half a file";
  {
    TraceWriter writer(to(directory / "torn.h5"), sample_model());
    EXPECT_FALSE(fs::exists(directory / "torn.h5.parts/m.h5.tmp"));
    EXPECT_TRUE(writer.contains("z"));
    EXPECT_FALSE(writer.contains("a"));
    write_weights(writer);
    for (const char* id : {"a", "m"}) writer.write_prompt(sample_prompt(id, 1));
    writer.finish();
  }
  EXPECT_THAT(ids(TraceReader(directory / "torn.h5")), ElementsAre("z", "a", "m"));
  EXPECT_EQ(trace_content(directory / "torn.h5"), trace_content(directory / "whole.h5"));
}

TEST(TraceWriter, AppendKeepsWhatIsThere) {
  const testing::TemporaryDirectory directory;
  {
    TraceWriter writer(to(directory / "t.h5"), sample_model());
    write_weights(writer);
    writer.write_prompt(sample_prompt("b", 1));
    writer.finish();
  }
  EXPECT_THAT([&] { TraceWriter(to(directory / "t.h5"), sample_model()); },
              ThrowsMessage<TraceError>(HasSubstr("exists already; append to it (--append) or replace it (--force)")));
  EXPECT_FALSE(fs::exists(directory / "t.h5.parts"));
  {
    TraceWriter writer(appending(directory / "t.h5"), sample_model());
    EXPECT_TRUE(writer.contains("b"));
    EXPECT_THROW(writer.write_prompt(sample_prompt("b", 2)), TraceError);
    writer.write_prompt(sample_prompt("a", 2));
    writer.finish();
  }
  const TraceReader reader(directory / "t.h5");
  EXPECT_THAT(ids(reader), ElementsAre("b", "a"));
  expect_equal(reader.layer(0, 2, kSampleFields), sample_prompt("b", 1).layers[2]);
  EXPECT_EQ(reader.output_weight(1), sample_output_weight(1));
  EXPECT_THAT(verify_trace(directory / "t.h5"), IsEmpty());
}

TEST(TraceWriter, ForceStartsOver) {
  const testing::TemporaryDirectory directory;
  for (const char* id : {"a", "b"}) {
    WriterOptions options = to(directory / "t.h5");
    options.force = true;
    TraceWriter writer(options, sample_model());
    EXPECT_FALSE(writer.contains("a"));
    writer.write_prompt(sample_prompt(id, 1));
    writer.finish();
  }
  EXPECT_THAT(ids(TraceReader(directory / "t.h5")), ElementsAre("b"));
}

WriterOptions forcing(const fs::path& path) {
  WriterOptions options = to(path);
  options.force = true;
  return options;
}

/// A recording of these prompts that was interrupted.
void leave_parts(const WriterOptions& options, const Settings& settings, std::vector<const char*> prompts) {
  TraceWriter writer(options, sample_model(), settings);
  write_weights(writer);
  for (const char* id : prompts) writer.write_prompt(sample_prompt(id, 1));
}

bool contains_alike(TraceWriter& writer, const MemoryTrace::Prompt& prompt) {
  return writer.contains_alike(prompt.info, prompt.tokens);
}

TEST(TraceWriter, ForceResumesItsOwnPartsAndKeepsTheOldTraceUntilItIsDone) {
  const testing::TemporaryDirectory directory;
  const Settings settings = {{"dtype", "float16"}};
  {
    TraceWriter writer(to(directory / "t.h5"), sample_model(), settings);
    writer.write_prompt(sample_prompt("old", 1, {.tier = Tier::kSummary}));
    writer.finish();
  }
  leave_parts(forcing(directory / "t.h5"), settings, {"a", "b"});
  EXPECT_THAT(ids(TraceReader(directory / "t.h5")), ElementsAre("old"));
  {
    TraceWriter writer(forcing(directory / "t.h5"), sample_model(), settings);
    write_weights(writer);
    EXPECT_TRUE(contains_alike(writer, sample_prompt("a", 1)));
    EXPECT_FALSE(contains_alike(writer, sample_prompt("c", 1)));
    writer.write_prompt(sample_prompt("c", 1));
    writer.finish();
  }
  // "b" was not asked for again.
  EXPECT_THAT(ids(TraceReader(directory / "t.h5")), ElementsAre("a", "c"));
}

TEST(TraceWriter, ForceDropsPartsThatWereRecordedOtherwise) {
  const testing::TemporaryDirectory directory;
  const Settings settings = {{"dtype", "float16"}};
  leave_parts(to(directory / "t.h5"), {{"dtype", "float32"}}, {"a"});
  {
    TraceWriter writer(forcing(directory / "t.h5"), sample_model(), settings);
    EXPECT_FALSE(writer.contains("a"));
    writer.write_prompt(sample_prompt("b", 1, {.tier = Tier::kSummary}));
  }
  TraceWriter writer(forcing(directory / "t.h5"), sample_model(), settings);
  MemoryTrace::Prompt other = sample_prompt("b", 1, {.tier = Tier::kSummary});
  other.tokens[0] += 1;
  EXPECT_TRUE(writer.contains("b"));
  EXPECT_FALSE(contains_alike(writer, other));
  writer.write_prompt(other);
  writer.finish();
  EXPECT_EQ(TraceReader(directory / "t.h5").tokens(0), other.tokens);
}

TEST(TraceWriter, OtherSettingsAreRefusedByTheirFirstDifference) {
  const testing::TemporaryDirectory directory;
  const Settings settings = {{"dtype", "float16"}, {"future", "32"}};
  const auto refuses = [&](const WriterOptions& options, const Settings& other, const char* saying) {
    EXPECT_THAT([&] { TraceWriter(options, sample_model(), other); }, ThrowsMessage<TraceError>(HasSubstr(saying)));
  };
  leave_parts(to(directory / "t.h5"), settings, {"a"});
  refuses(to(directory / "t.h5"), {{"dtype", "float32"}, {"future", "4"}}, "(dtype float16 there, float32 here)");
  {
    TraceWriter writer(to(directory / "t.h5"), sample_model(), settings);
    writer.finish();
  }
  EXPECT_EQ(TraceReader(directory / "t.h5").provenance().settings, settings);
  refuses(appending(directory / "t.h5"), {{"dtype", "float16"}, {"future", "4"}}, "(future 32 there, 4 here)");
  // What is unknown of appended prompts is not compared, and the trace no longer says it of all of them.
  TraceWriter writer(appending(directory / "t.h5"), sample_model(), {{"dtype", "float16"}, {"seed", "1"}});
  writer.write_prompt(sample_prompt("b", 1));
  writer.finish();
  EXPECT_EQ(TraceReader(directory / "t.h5").provenance().settings, (Settings{{"dtype", "float16"}}));
}

// What is damaged between being recorded and being merged must not reach the trace under a new digest.
TEST(TraceWriter, DamagedPartsAreRefusedByTheMergeAndKept) {
  const MemoryTrace::Prompt prompt = sample_prompt("a", 1);
  const auto bytes_of = [](std::span<const std::byte> bytes) {
    return std::string(reinterpret_cast<const char*>(bytes.data()), 16);
  };
  const RowMatrix weight = sample_output_weight(1);
  const struct {
    const char* part;
    std::string damaged;
    const char* saying;
  } cases[] = {{"a.h5", bytes_of(prompt.layers[1].keys.bytes()), "/prompts/a/layers/1/keys: damaged"},
               {"a.h5", bytes_of(std::as_bytes(std::span(prompt.tokens))), "/prompts/a/tokens: damaged"},
               {"a.h5", "sample.jsonl", "/prompts/a: damaged"},
               {"a.h5", "query_head, window_query", "/prompts/a/layers/"},
               {"model.h5", bytes_of(std::as_bytes(std::span(weight.data(), 4))), "/model/output_weight/1: damaged"}};
  for (const auto& [part, damaged, saying] : cases) {
    SCOPED_TRACE(saying);
    const testing::TemporaryDirectory directory;
    leave_parts(to(directory / "t.h5"), {}, {"a", "b"});
    flip_bit(directory / "t.h5.parts" / part, damaged);
    const auto merge = [&] { TraceWriter(to(directory / "t.h5"), sample_model()).finish(); };
    EXPECT_THAT(merge, ThrowsMessage<TraceError>(AllOf(HasSubstr(saying), HasSubstr(part))));
    EXPECT_FALSE(fs::exists(directory / "t.h5"));
    EXPECT_TRUE(fs::exists(directory / "t.h5.parts/a.h5") && fs::exists(directory / "t.h5.parts/b.h5"));
  }
}

TEST(TraceWriter, ADamagedTraceIsNotAppendedTo) {
  const MemoryTrace::Prompt prompt = sample_prompt("a", 1);
  for (const bool text : {false, true}) {
    const testing::TemporaryDirectory directory;
    {
      TraceWriter writer(to(directory / "t.h5"), sample_model());
      writer.write_prompt(prompt);
      writer.finish();
    }
    const std::string keys(reinterpret_cast<const char*>(prompt.layers[1].keys.bytes().data()), 16);
    flip_bit(directory / "t.h5", text ? "sample.jsonl" : keys);
    const std::string before = trace_content(directory / "t.h5");
    const auto append = [&] {
      TraceWriter writer(appending(directory / "t.h5"), sample_model());
      writer.write_prompt(sample_prompt("b", 2));
      writer.finish();
    };
    EXPECT_THAT(append, ThrowsMessage<TraceError>(HasSubstr(text ? "/prompts/a: damaged" : "layers/1/keys: damaged")));
    EXPECT_EQ(trace_content(directory / "t.h5"), before);
  }
}

TEST(TraceWriter, WhatIsAskedForBeyondTheTierIsRecordedAndNamed) {
  const testing::TemporaryDirectory directory;
  MemoryTrace::Prompt prompt =
      sample_prompt("a", 1, {.tier = Tier::kSummary, .extra = Fields(Field::kRepeatAttention)});
  {
    TraceWriter writer(to(directory / "t.h5"), sample_model());
    writer.write_prompt(prompt);
    writer.write_prompt(sample_prompt("b", 2, {.tier = Tier::kSummary}));
    writer.finish();
  }
  EXPECT_THAT(verify_trace(directory / "t.h5"), IsEmpty());
  const TraceReader reader(directory / "t.h5");
  EXPECT_EQ(reader.prompts()[0].extra, Fields(Field::kRepeatAttention));
  EXPECT_EQ(reader.prompts()[0].recorded(), kSummaryFields | Field::kRepeatAttention);
  expect_equal(reader.layer(0, 1, reader.prompts()[0].recorded()), prompt.layers[1]);
  EXPECT_EQ(reader.prompts()[1].recorded(), kSummaryFields);
  EXPECT_THROW(reader.layer(1, 0, Field::kRepeatAttention), TraceError);

  prompt.layers[0].repeat_attention.floats()[3] = 1.5F;
  TraceWriter writer(to(directory / "wrong.h5"), sample_model());
  EXPECT_THAT([&] { writer.write_prompt(prompt); }, ThrowsMessage<TraceError>(HasSubstr("1.5 is no probability")));
}

TEST(TraceWriter, ATraceOfVersion1IsAppendedTo) {
  const testing::TemporaryDirectory directory;
  fs::copy_file(EVICTLAB_TEST_DATA "/trace/version_1.h5", directory / "t.h5");
  const TraceReader before(EVICTLAB_TEST_DATA "/trace/version_1.h5");
  const ModelInfo model = before.model();
  MemoryTrace::Prompt prompt{.info = before.prompts()[0], .tokens = before.tokens(0), .layers = {}};
  prompt.info.id = "more";
  const Fields recorded = prompt.info.recorded();
  EXPECT_EQ(prompt.info.missing, Fields(Field::kResidualNorms));
  for (const Index layer : prompt.info.layers) prompt.layers.push_back(before.layer(0, layer, recorded));
  {
    TraceWriter writer(appending(directory / "t.h5"), model);
    writer.write_prompt(prompt);
    writer.finish();
  }
  EXPECT_THAT(verify_trace(directory / "t.h5"), IsEmpty());
  const TraceReader reader(directory / "t.h5");
  EXPECT_EQ(reader.provenance().format_version, 2);
  EXPECT_THAT(ids(reader), ElementsAre("synth-000", "synth-001", "more"));
  for (const PromptInfo& info : reader.prompts()) EXPECT_EQ(info.recorded(), recorded);
  expect_equal(reader.layer(0, 1, recorded), reader.layer(2, 1, recorded));
  flip_bit(directory / "t.h5", "synthetic(");  // the source of a prompt
  EXPECT_THAT([&] { TraceReader(directory / "t.h5"); }, ThrowsMessage<TraceError>(HasSubstr("synth-000: damaged")));
}

TEST(TracePlace, IsHeldByOneRecordingAndLeavesNothingUnused) {
  const testing::TemporaryDirectory directory;
  {
    const TracePlace place(to(directory / "new/folder/t.h5"));
    EXPECT_THAT([&] { TracePlace{to(directory / "new/folder/t.h5")}; },
                ThrowsMessage<TraceError>(HasSubstr("another recording is writing there")));
  }
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

TEST(TraceWriter, KeptPartsAreATrace) {
  const testing::TemporaryDirectory directory;
  WriterOptions options = to(directory / "t.h5");
  options.keep_parts = true;
  {
    TraceWriter writer(options, sample_model());
    write_weights(writer);
    writer.write_prompt(sample_prompt("z", 1));
    writer.write_prompt(sample_prompt("a", 2));
    EXPECT_EQ(writer.finish(), directory / "t.h5.parts");
  }
  EXPECT_FALSE(fs::exists(directory / "t.h5"));
  const TraceReader reader(directory / "t.h5.parts");
  EXPECT_THAT(ids(reader), ElementsAre("z", "a"));
  expect_equal(reader.layer(1, 0, kSampleFields), sample_prompt("a", 2).layers[0]);
  EXPECT_EQ(reader.output_weight(1), sample_output_weight(1));
  EXPECT_EQ(reader.tokens(1), sample_prompt("a", 2).tokens);
  EXPECT_EQ(reader.datasets().size(), 3U + 2 * (2 + 3 * kSampleFieldCount));
  EXPECT_THAT(verify_trace(directory / "t.h5.parts"), IsEmpty());
}

TEST(TraceWriter, AFutureOfLengthZeroIsRefusedAndLeavesNothing) {
  const testing::TemporaryDirectory directory;
  Sample sample;
  sample.future_length = 0;
  sample.spans.clear();
  sample.tier = Tier::kSummary;
  TraceWriter writer(to(directory / "t.h5"), sample_model());
  EXPECT_THAT([&] { writer.write_prompt(sample_prompt("a", 1, sample)); },
              ThrowsMessage<TraceError>(HasSubstr("prompt 'a': future_length is 0")));
  EXPECT_TRUE(list_parts(directory / "t.h5.parts").empty());
  EXPECT_FALSE(fs::exists(directory / "t.h5.parts/a.h5.tmp"));
}

TEST(PromptWriter, AFutureToldLaterIsRecordedAlike) {
  const testing::TemporaryDirectory directory;
  const MemoryTrace::Prompt prompt = sample_prompt("a", 1);
  const LayerData& layer = prompt.layers[0];
  TraceWriter writer(to(directory / "t.h5"), sample_model());
  PromptInfo info = prompt.info;
  info.layers = {0};
  info.tier = Tier::kSummary;
  info.gradient_draws = 0;
  info.future_length = 0;
  const auto told = std::span(prompt.tokens);
  PromptWriter prompt_writer = writer.begin_prompt(info, {told.begin(), told.begin() + 37});
  prompt_writer.write(0, Field::kWindowAttention, layer.window_attention);
  prompt_writer.write(0, Field::kAttentionMass, layer.attention_mass);
  EXPECT_THROW(prompt_writer.write(0, Field::kFutureMass, layer.future_mass), TraceError);
  prompt_writer.set_future(told.subspan(37));
  prompt_writer.write(0, Field::kFutureMass, layer.future_mass);
  prompt_writer.write(0, Field::kOutputNorms, layer.output_norms);
  prompt_writer.finish();
  writer.finish();
  const TraceReader reader(directory / "t.h5");
  EXPECT_EQ(reader.tokens(0), prompt.tokens);
  EXPECT_EQ(reader.prompts()[0].future_length, 4);
  EXPECT_EQ(reader.prompts()[0].spans, prompt.info.spans);
  EXPECT_THAT(verify_trace(directory / "t.h5"), IsEmpty());
}

TEST(PromptWriter, APromptWithAFieldMissingOrTwiceIsNotFinished) {
  const testing::TemporaryDirectory directory;
  const MemoryTrace::Prompt prompt = sample_prompt("a", 1);
  TraceWriter writer(to(directory / "t.h5"), sample_model());
  {
    PromptWriter prompt_writer = writer.begin_prompt(prompt.info, prompt.tokens);
    prompt_writer.write(0, Field::kKeys, prompt.layers[0].keys);
    EXPECT_THAT([&] { prompt_writer.write(0, Field::kKeys, prompt.layers[0].keys); },
                ThrowsMessage<TraceError>(HasSubstr("prompt 'a' layer 0: keys: written twice")));
    EXPECT_THAT([&] { prompt_writer.write(3, Field::kKeys, prompt.layers[0].keys); },
                ThrowsMessage<TraceError>(HasSubstr("layer 3: keys: not one of the prompt's layers")));
    EXPECT_THROW(prompt_writer.set_query_count(0, 38), TraceError);
    EXPECT_THAT([&] { prompt_writer.finish(); }, ThrowsMessage<TraceError>(HasSubstr("window_attention: not written")));
  }
  EXPECT_TRUE(list_parts(directory / "t.h5.parts").empty());
  EXPECT_FALSE(writer.contains("a"));
}

TEST(TraceWriter, ARecordingWithoutPromptsIsAValidTraceOrNothing) {
  const testing::TemporaryDirectory directory;
  TraceWriter(to(directory / "left.h5"), sample_model());
  EXPECT_TRUE(fs::is_empty(directory.path()));
  TraceWriter(to(directory / "t.h5"), sample_model()).finish();
  EXPECT_TRUE(TraceReader(directory / "t.h5").prompts().empty());
  EXPECT_THAT(verify_trace(directory / "t.h5"), IsEmpty());
}

TEST(TraceWriter, TwoRecordingsDoNotShareAName) {
  const testing::TemporaryDirectory directory;
  const TraceWriter first(to(directory / "t.h5"), sample_model());
  EXPECT_THAT([&] { TraceWriter(to(directory / "t.h5"), sample_model()); },
              ThrowsMessage<TraceError>(HasSubstr("another recording is writing there")));
}

TEST(TraceWriter, WeightsAreWrittenOnceAndMustNotChange) {
  const testing::TemporaryDirectory directory;
  TraceWriter writer(to(directory / "t.h5"), sample_model());
  writer.write_output_weight(0, sample_output_weight(0));
  writer.write_output_weight(0, sample_output_weight(0));
  EXPECT_THROW(writer.write_output_weight(0, sample_output_weight(1)), TraceError);
  writer.write_prompt(sample_prompt("a", 1));
  writer.write_output_weight(0, sample_output_weight(0));
  EXPECT_THROW(writer.write_output_weight(0, sample_output_weight(1)), TraceError);
  writer.write_output_weight(1, sample_output_weight(1));
  EXPECT_THROW(writer.write_output_weight(3, sample_output_weight(1)), TraceError);
  EXPECT_THROW(writer.write_output_weight(2, RowMatrix::Zero(7, 30)), TraceError);
  writer.finish();
  const TraceReader reader(directory / "t.h5");
  EXPECT_EQ(reader.output_weight(0), sample_output_weight(0));
  EXPECT_EQ(reader.output_weight(1), sample_output_weight(1));
  EXPECT_THROW(reader.output_weight(2), TraceError);
}

TEST(TraceWriter, APlaceThatCannotBeWrittenIsOneClearLine) {
  const testing::TemporaryDirectory directory;
  std::ofstream(directory / "file") << "taken";
  EXPECT_THAT([&] { TraceWriter(to(directory / "file/t.h5"), sample_model()); },
              ThrowsMessage<core::InputError>(HasSubstr("a file has that name")));
  fs::create_directory(directory / "taken");
  EXPECT_THAT([&] { TraceWriter(to(directory / "taken"), sample_model()); },
              ThrowsMessage<TraceError>(HasSubstr("is a directory")));
}

TEST(PartName, IsAPlainFileNameOfItsOwnForEveryId) {
  EXPECT_EQ(layout::part_name("needle-1.2_x"), "needle-1.2_x.h5");
  EXPECT_EQ(layout::part_name("a b%"), "a%20b%25.h5");
  EXPECT_EQ(layout::part_name("model"), "%6Dodel.h5");
  EXPECT_EQ(layout::part_name(".hidden"), "%2Ehidden.h5");
  EXPECT_EQ(layout::part_name("é"), "%C3%A9.h5");
}

TEST(TraceWriter, UnusualIdsKeepTheirNames) {
  const testing::TemporaryDirectory directory;
  TraceWriter writer(to(directory / "t.h5"), sample_model());
  for (const char* id : {"model", ".hidden", "Frage 1: größer?", "a%20b"}) writer.write_prompt(sample_prompt(id, 1));
  EXPECT_THAT(ids(TraceReader(directory / "t.h5.parts")), ElementsAre("model", ".hidden", "Frage 1: größer?", "a%20b"));
  writer.finish();
  EXPECT_THAT(ids(TraceReader(directory / "t.h5")), ElementsAre("model", ".hidden", "Frage 1: größer?", "a%20b"));
}

}  // namespace
}  // namespace evictlab::trace
