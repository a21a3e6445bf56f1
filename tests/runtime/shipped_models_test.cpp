// The shipped model against what Hugging Face transformers computes with it: scripts/make_model_expectations.py.

#include <cstdlib>

#include "model_files.hpp"
#include "runtime/prompts/prompts.hpp"
#include "runtime/sampling.hpp"
#include "runtime/transformer.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::runtime {
namespace {

using nlohmann::json;

/// Where NAME.jsonl lie: one prompt of each file, or, where the environment says so, every prompt.
std::filesystem::path expectations() {
  const char* const elsewhere = std::getenv("EVICTLAB_MODEL_EXPECTATIONS");
  return elsewhere != nullptr ? std::filesystem::path(elsewhere) : std::filesystem::path(EVICTLAB_TEST_DATA) / "models";
}

// Instrumented code takes minutes over prompts that take seconds: there the short ones must do.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t kLongest = 600;
#else
constexpr std::size_t kLongest = 1 << 20;
#endif

class ShippedModel : public ::testing::TestWithParam<const char*> {};

TEST_P(ShippedModel, LogitsAndGreedyAnswersAreThoseOfTransformers) {
  const Transformer model(std::filesystem::path(EVICTLAB_SOURCE_DIR) / "models" / GetParam());
  std::istringstream lines(testing::read_file(expectations() / (std::string(GetParam()) + ".jsonl")));
  std::size_t prompts = 0;
  for (std::string line; std::getline(lines, line); ++prompts) {
    const json expected = json::parse(line);
    SCOPED_TRACE(expected.at("id").get<std::string>());
    const auto tokens = expected.at("tokens").get<std::vector<std::int32_t>>();
    if (tokens.size() > kLongest) continue;
    const auto greedy = expected.at("greedy").get<std::vector<std::int32_t>>();
    KvCache cache = model.make_cache(static_cast<Index>(tokens.size() + greedy.size()));
    const std::vector<float> logits = model.forward(tokens, cache);
    const double largest = std::abs(expected.at("top").at(0).at(1).get<double>());
    for (const json& top : expected.at("top")) {
      EXPECT_NEAR(logits.at(top.at(0).get<std::size_t>()), top.at(1).get<double>(), 1e-4 * largest);
    }
    Sampler sampler({});
    EXPECT_EQ(generate(model, cache, logits, static_cast<Index>(greedy.size()), sampler), greedy);
  }
  EXPECT_GE(prompts, 18U) << "one for each task and length";
}

INSTANTIATE_TEST_SUITE_P(Models, ShippedModel, ::testing::Values("demo"));

}  // namespace
}  // namespace evictlab::runtime
