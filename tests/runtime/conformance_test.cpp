// Against what Hugging Face transformers computes in float32 for the checkpoints of
// scripts/make_fixture_checkpoints.py and scripts/make_fixture_gguf.py. EVICTLAB_CHECKPOINTS may name a directory of
// freshly made ones.

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "attention_capture.hpp"
#include "core/safetensors.hpp"
#include "model_files.hpp"
#include "runtime/sampling.hpp"
#include "runtime/transformer.hpp"

namespace evictlab::runtime {
namespace {

constexpr double kTolerance = 1e-4;  // max |a - b| / max |b|

std::filesystem::path checkpoints() {
  const char* elsewhere = std::getenv("EVICTLAB_CHECKPOINTS");
  return elsewhere != nullptr ? std::filesystem::path(elsewhere) : testing::kCheckpoints;
}

std::vector<std::string> checkpoint_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints())) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

/// Tensors of expected.safetensors.
class Expected {
 public:
  explicit Expected(const std::filesystem::path& path) : file_(path) {}

  template <typename T>
  std::vector<T> values(const std::string& name) const {
    const core::StoredTensor& tensor = find(name);
    std::vector<T> values(tensor.bytes.size() / sizeof(T));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }
  const std::vector<std::uint64_t>& shape(const std::string& name) const { return find(name).shape; }

 private:
  const core::StoredTensor& find(const std::string& name) const {
    return *std::ranges::find(file_.tensors(), name, &core::StoredTensor::name);
  }
  core::SafetensorsFile file_;
};

double relative_logit_difference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0.0;
  double largest = 0.0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference = std::max(difference, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    largest = std::max(largest, std::abs(static_cast<double>(b[i])));
  }
  return difference / largest;
}

/// A model directory, or one with a GGUF file.
std::filesystem::path model_path(const std::filesystem::path& directory) {
  const std::filesystem::path gguf = directory / "model.gguf";
  return std::filesystem::exists(gguf) ? gguf : directory;
}

class Conformance : public ::testing::TestWithParam<std::string> {
 protected:
  std::filesystem::path directory_ = checkpoints() / GetParam();
  Transformer model_{model_path(directory_)};
  Expected expected_{directory_ / "expected.safetensors"};
  std::vector<std::int32_t> tokens_ = expected_.values<std::int32_t>("input_ids");
  Index n_ = static_cast<Index>(tokens_.size());
};

TEST_P(Conformance, LogitsOfEveryPositionAreThoseOfTransformers) {
  KvCache cache = model_.make_cache(n_);
  const trace::RowMatrix logits = model_.forward_all(tokens_, cache);
  const double difference =
      relative_logit_difference({logits.data(), static_cast<std::size_t>(logits.size())}, expected_.values<float>("logits"));
  RecordProperty("logits", fmt::format("{:.1e}", difference));
  EXPECT_LE(difference, kTolerance);
}

TEST_P(Conformance, AttentionRowsAndColumnSumsAreThoseOfTransformers) {
  const Index layers = model_.config().layers;
  const Index heads = model_.config().query_heads;
  const auto window = static_cast<Index>(expected_.shape("window_attention").at(2));
  testing::AttentionCapture capture(layers, heads, n_);
  KvCache cache = model_.make_cache(n_);
  model_.forward(tokens_, cache, &capture);
  std::vector<float> rows;
  std::vector<float> mass;
  for (Index layer = 0; layer < layers; ++layer) {
    for (Index head = 0; head < heads; ++head) {
      const RowMatrix& probabilities = capture.probabilities(layer, head);
      const RowMatrix last = probabilities.bottomRows(window);
      rows.insert(rows.end(), last.data(), last.data() + last.size());
      const Eigen::RowVectorXf sums = probabilities.cast<double>().colwise().sum().cast<float>();
      mass.insert(mass.end(), sums.data(), sums.data() + sums.size());
    }
  }
  EXPECT_LE(relative_logit_difference(rows, expected_.values<float>("window_attention")), kTolerance);
  EXPECT_LE(relative_logit_difference(mass, expected_.values<float>("attention_mass")), kTolerance);
}

TEST_P(Conformance, TheGreedyContinuationIsThatOfTransformers) {
  const auto greedy = expected_.values<std::int32_t>("greedy_ids");
  KvCache cache = model_.make_cache(n_ + static_cast<Index>(greedy.size()));
  std::vector<float> logits = model_.forward(tokens_, cache);
  std::vector<float> all;
  for (const std::int32_t id : greedy) {
    ASSERT_EQ(greedy_token(logits), id);
    logits = model_.forward(std::span(&id, 1), cache);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  const double difference = relative_logit_difference(all, expected_.values<float>("greedy_logits"));
  RecordProperty("greedy_logits", fmt::format("{:.1e}", difference));
  EXPECT_LE(difference, kTolerance);
}

TEST_P(Conformance, NothingIsAttendedToOutsideALayersSlidingWindow) {
  const ModelConfig& config = model_.config();
  testing::AttentionCapture capture(config.layers, config.query_heads, n_);
  KvCache cache = model_.make_cache(n_);
  model_.forward(tokens_, cache, &capture);
  for (Index layer = 0; layer < config.layers; ++layer) {
    const Index window = config.sliding_windows[static_cast<std::size_t>(layer)];
    if (window == 0) continue;
    ASSERT_LT(window, n_);
    for (Index head = 0; head < config.query_heads; ++head) {
      const RowMatrix& rows = capture.probabilities(layer, head);
      for (Index query = window; query < n_; ++query) {
        EXPECT_EQ(rows.row(query).head(query - window + 1).maxCoeff(), 0.0F);
        EXPECT_GT(rows(query, query - window + 1), 0.0F);
      }
    }
  }
}

TEST(InternLm2, ARepackedLlamaGivesTheSameLogitsToTheLastBit) {
  const auto logits = [](const char* name) {
    const Transformer model(testing::kCheckpoints / name);
    const Expected expected(testing::kCheckpoints / name / "expected.safetensors");
    const auto tokens = expected.values<std::int32_t>("input_ids");
    KvCache cache = model.make_cache(static_cast<Index>(tokens.size()));
    return model.forward_all(tokens, cache);
  };
  EXPECT_EQ(logits("internlm2-dynamic-f16"), logits("llama-dynamic-f16"));
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Conformance, ::testing::ValuesIn(checkpoint_names()), [](const auto& test) {
  std::string name = test.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace evictlab::runtime
