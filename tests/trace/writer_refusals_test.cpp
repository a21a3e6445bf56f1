#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "sample.hpp"
#include "testing/temporary_directory.hpp"
#include "trace/io/parts_directory.hpp"
#include "trace/io/reader.hpp"
#include "trace/io/writer.hpp"

namespace evictlab::trace {
namespace {

/// Options of a writer that is to refuse what it is given.
WriterOptions refused_to(const std::filesystem::path& path) {
  WriterOptions options;
  options.path = path;
  return options;
}

TEST(TraceWriter, AnotherModelIsRefusedByItsFirstDifference) {
  const testing::TemporaryDirectory directory;
  {
    TraceWriter writer(refused_to(directory / "t.h5"), sample_model());
    writer.write_prompt(sample_prompt("a", 1));
  }
  ModelInfo other = sample_model();
  other.fingerprint = "xxh3-128:ff";
  EXPECT_THAT([&] { TraceWriter(refused_to(directory / "t.h5"), other); },
              ::testing::ThrowsMessage<TraceError>(
                  ::testing::HasSubstr("fingerprint xxh3-128:00112233445566778899aabbccddeeff there")));
  other = sample_model();
  other.head_dim = 6;
  EXPECT_THAT([&] { TraceWriter(refused_to(directory / "t.h5"), other); },
              ::testing::ThrowsMessage<TraceError>(::testing::HasSubstr("head dimension 5 there, 6 here")));
  other = sample_model();
  other.name = "moved elsewhere";
  EXPECT_TRUE(TraceWriter(refused_to(directory / "t.h5"), other).contains("a"));
}

TEST(TraceWriter, ImpossibleModelsAreRefused) {
  const testing::TemporaryDirectory directory;
  const auto refused = [&](auto change) {
    ModelInfo model = sample_model();
    change(model);
    EXPECT_THROW(TraceWriter(refused_to(directory / "t.h5"), model), TraceError);
  };
  refused([](ModelInfo& model) { model.layers = 0; });
  refused([](ModelInfo& model) { model.kv_heads = 4; });
  refused([](ModelInfo& model) { model.kv_heads = 7; });
  refused([](ModelInfo& model) { model.head_dim = -1; });
  refused([](ModelInfo& model) { model.attention_scale = 0; });
  refused([](ModelInfo& model) { model.sliding_windows.pop_back(); });
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(TraceWriter, PromptsThatMakeNoSenseAreRefused) {
  const testing::TemporaryDirectory directory;
  TraceWriter writer(refused_to(directory / "t.h5"), sample_model());
  const auto refused = [&](const char* message, auto change) {
    MemoryTrace::Prompt prompt = sample_prompt("a", 1);
    change(prompt);
    EXPECT_THAT([&] { writer.write_prompt(prompt); },
                ::testing::ThrowsMessage<TraceError>(::testing::HasSubstr(message)));
  };
  using Prompt = MemoryTrace::Prompt;
  refused("id is empty", [](Prompt& prompt) { prompt.info.id = ""; });
  refused("cannot be '..'", [](Prompt& prompt) { prompt.info.id = ".."; });
  refused("contains '/'", [](Prompt& prompt) { prompt.info.id = "a/b"; });
  refused("control character", [](Prompt& prompt) { prompt.info.id = "a\nb"; });
  refused("too long", [](Prompt& prompt) { prompt.info.id = std::string(300, 'x'); });
  refused("window is 9, must be 1 to 8", [](Prompt& prompt) { prompt.info.prompt_length = 8; });
  refused("window is 0", [](Prompt& prompt) { prompt.info.window = 0; });
  refused("gradient_draws is -1", [](Prompt& prompt) { prompt.info.gradient_draws = -1; });
  refused("layers must be ascending", [](Prompt& prompt) { prompt.info.layers = {0, 2, 1}; });
  refused("layers must be ascending", [](Prompt& prompt) { prompt.info.layers = {0, 1, 3}; });
  refused("span 'x' [40, 42) is not inside", [](Prompt& prompt) { prompt.info.spans = {{"x", 40, 42}}; });
  refused("40 tokens for 41 positions", [](Prompt& prompt) { prompt.tokens.pop_back(); });
  refused("a token id is negative", [](Prompt& prompt) { prompt.tokens[3] = -1; });
  refused("keys: shape [2, 40, 5], expected [2, 41, 5]",
          [](Prompt& prompt) { prompt.layers[1].keys = Tensor(ElementType::kFloat32, 2, 40, 5); });
  refused("window_attention: must be float16",
          [](Prompt& prompt) { prompt.layers[1].window_attention = Tensor(ElementType::kFloat32, 6, 9, 37); });
  refused("scale 2, must be 1 or 32768",
          [](Prompt& prompt) { prompt.layers[1].window_attention = Tensor(ElementType::kFloat16, 6, 9, 37, 2.0F); });
  refused("future_mass: must be float32",
          [](Prompt& prompt) { prompt.layers[1].future_mass = Tensor(ElementType::kFloat16, 6, 1, 41); });
  EXPECT_TRUE(list_parts(directory / "t.h5.parts").empty());
  writer.write_prompt(sample_prompt("a", 1));
  writer.finish();
  EXPECT_THAT(TraceReader(directory / "t.h5").prompts(),
              ::testing::ElementsAre(::testing::Field(&PromptInfo::id, "a")));
}

}  // namespace
}  // namespace evictlab::trace
