#include "runtime/transformer.hpp"

#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "attention_capture.hpp"
#include "core/half.hpp"
#include "core/parallel.hpp"
#include "core/safetensors.hpp"
#include "model_files.hpp"
#include "runtime/model_error.hpp"
#include "runtime/sampling.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::runtime {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kGrouped = "gqa-f32";
constexpr const char* kSharded = "llama3-rope-tied-f16-sharded";
constexpr const char* kBiased = "mha-biases-bf16";

std::vector<std::int32_t> random_tokens(std::size_t count) {
  std::mt19937 random(11);
  std::vector<std::int32_t> tokens(count);
  for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(random() % 96);
  return tokens;
}

double relative_difference(const RowMatrix& a, const RowMatrix& b) {
  return static_cast<double>((a - b).cwiseAbs().maxCoeff() / b.cwiseAbs().maxCoeff());
}

TEST(TransformerTest, ChunksAndSingleTokensGiveWhatTheWholeGives) {
  const std::vector<std::int32_t> tokens = random_tokens(140);
  for (const char* name : {kGrouped, kSharded, kBiased}) {
    const Transformer model(testing::kCheckpoints / name);
    KvCache whole_cache = model.make_cache(140);
    const RowMatrix whole = model.forward_all(tokens, whole_cache);
    for (const std::size_t chunk : {1U, 33U, 70U}) {
      KvCache cache = model.make_cache(140);
      RowMatrix pieces(140, model.config().vocab_size);
      for (std::size_t first = 0; first < tokens.size(); first += chunk) {
        const auto part = std::span(tokens).subspan(first, std::min(chunk, tokens.size() - first));
        pieces.middleRows(static_cast<Index>(first), static_cast<Index>(part.size())) = model.forward_all(part, cache);
      }
      EXPECT_LE(relative_difference(pieces, whole), 1e-5) << name << " in chunks of " << chunk;
      EXPECT_EQ(cache.next_position(), 140);
      EXPECT_LE(relative_difference(cache.keys(1, 0), whole_cache.keys(1, 0)), 1e-5);
    }
  }
}

TEST(TransformerTest, ForwardGivesTheLastRowOfForwardAll) {
  const Transformer model(testing::kCheckpoints / kGrouped);
  const std::vector<std::int32_t> tokens = random_tokens(20);
  KvCache cache = model.make_cache(20);
  const std::vector<float> last = model.forward(tokens, cache);
  KvCache other = model.make_cache(20);
  const RowMatrix all = model.forward_all(tokens, other);
  ASSERT_EQ(last.size(), 96U);
  for (std::size_t id = 0; id < last.size(); ++id) EXPECT_NEAR(last[id], all(19, static_cast<Index>(id)), 1e-5);
}

TEST(TransformerTest, ResultsAreTheSameBitsOnAnyNumberOfThreads) {
  const Transformer model(EVICTLAB_SOURCE_DIR "/models/demo");
  std::vector<std::int32_t> tokens(700);
  std::iota(tokens.begin(), tokens.end(), 0);
  for (std::int32_t& token : tokens) token %= static_cast<std::int32_t>(model.config().vocab_size);
  const auto run = [&](std::size_t threads) {
    core::set_threads(threads);
    KvCache cache = model.make_cache(701);
    testing::AttentionCapture capture(model.config().layers, model.config().query_heads, 701);
    RowMatrix logits = model.forward_all(tokens, cache, &capture);
    const std::vector<float> decoded = model.forward(std::vector<std::int32_t>{5}, cache, &capture);
    core::set_threads(0);
    return std::tuple(logits, decoded, RowMatrix(capture.probabilities(5, 3)), RowMatrix(cache.values(5, 1)));
  };
  const auto one = run(1);
  EXPECT_EQ(run(2), one);
  EXPECT_EQ(run(3), one);
}

TEST(TransformerTest, AnObserverSeesRowsThatSumToOneInEveryLayerAndChangesNothing) {
  const Transformer model(testing::kCheckpoints / kGrouped);
  const std::vector<std::int32_t> tokens = random_tokens(100);
  testing::AttentionCapture capture(2, 6, 100);
  KvCache cache = model.make_cache(100);
  model.forward(std::span(tokens).first(67), cache, &capture);
  const std::vector<float> watched = model.forward(std::span(tokens).subspan(67), cache, &capture);
  EXPECT_THAT(capture.ended, ElementsAre(0, 1, 0, 1));
  for (Index layer = 0; layer < 2; ++layer) {
    for (Index head = 0; head < 6; ++head) {
      const RowMatrix& rows = capture.probabilities(layer, head);
      for (Index i = 0; i < 100; ++i) {
        EXPECT_NEAR(rows.row(i).cast<double>().sum(), 1.0, 1e-6);
        EXPECT_EQ(rows.row(i).tail(99 - i).cwiseAbs().sum(), 0.0F);
      }
    }
  }
  KvCache unwatched = model.make_cache(100);
  model.forward(std::span(tokens).first(67), unwatched);
  EXPECT_EQ(model.forward(std::span(tokens).subspan(67), unwatched), watched);
}

/// Keeps the states of the last layer seen.
class StateCapture : public ForwardObserver {
 public:
  void on_layer_states(Index layer, const LayerStates& states) override {
    last_layer = layer;
    first_position = states.first_position;
    queries = {states.queries.copy_head(0), states.queries.copy_head(5)};
    raw_queries = {states.raw_queries.copy_head(0), states.raw_queries.copy_head(5)};
    slots = states.cache.length(layer, 1);
  }
  void on_attention(Index layer, Index head, Index first, const RowMatrixView& rows) override {
    if (layer == 1 && head == 5) last_rows = rows;
    EXPECT_EQ(first, first_position);
  }

  Index last_layer = -1;
  Index first_position = -1;
  Index slots = -1;
  std::vector<RowMatrix> queries;
  std::vector<RowMatrix> raw_queries;
  RowMatrix last_rows;
};

TEST(TransformerTest, ObservedStatesExplainTheObservedAttention) {
  const Transformer model(testing::kCheckpoints / kGrouped);
  const std::vector<std::int32_t> tokens = random_tokens(50);
  StateCapture capture;
  KvCache cache = model.make_cache(50);
  model.forward(std::span(tokens).first(30), cache);
  model.forward(std::span(tokens).subspan(30), cache, &capture);
  EXPECT_EQ(capture.last_layer, 1);
  EXPECT_EQ(capture.first_position, 30);
  EXPECT_EQ(capture.slots, 50) << "the cache already holds the chunk";
  ASSERT_EQ(capture.queries[1].rows(), 20);
  // softmax(q k / sqrt(8)) of the last query, head 5, which reads kv head 1 of 2.
  const Eigen::VectorXd scores =
      (cache.keys(1, 1).cast<double>() * capture.queries[1].row(19).transpose().cast<double>()) / std::sqrt(8.0);
  const Eigen::VectorXd weights = (scores.array() - scores.maxCoeff()).exp();
  EXPECT_LT((capture.last_rows.row(19).transpose().cast<double>() - weights / weights.sum()).cwiseAbs().maxCoeff(),
            1e-5);
  // Position encoding turns pairs: it changes the queries but not their norms.
  EXPECT_GT((capture.queries[0] - capture.raw_queries[0]).norm(), 0.1F);
  EXPECT_LT((capture.queries[0].rowwise().norm() - capture.raw_queries[0].rowwise().norm()).norm(), 1e-4F);
}

TEST(TransformerTest, GenerationStopsAtTheCountWithoutReadingTheLastToken) {
  const Transformer model(testing::kCheckpoints / kGrouped);
  KvCache cache = model.make_cache(60);
  std::vector<float> logits = model.forward(random_tokens(50), cache);
  Sampler sampler({.temperature = 1.0, .seed = 1});
  EXPECT_EQ(generate(model, cache, logits, 4, sampler).size(), 4U);
  EXPECT_EQ(cache.next_position(), 53);
}

TEST(TransformerTest, TheOutputWeightIsTheTransposedProjectionInFloats) {
  const Transformer model(testing::kCheckpoints / kSharded);
  const trace::RowMatrix weight = model.output_weight(1);
  EXPECT_EQ(weight.rows(), 4 * 16);
  EXPECT_EQ(weight.cols(), 40);
  // Of the projection [40, 64] as stored: element (3, 7) is element (7, 3) here.
  const json index = json::parse(testing::read_file(testing::kCheckpoints / kSharded / "model.safetensors.index.json"));
  const std::string name = "model.layers.1.self_attn.o_proj.weight";
  const core::SafetensorsFile file(testing::kCheckpoints / kSharded /
                                   index.at("weight_map").at(name).get<std::string>());
  for (const core::StoredTensor& tensor : file.tensors()) {
    if (tensor.name != name) continue;
    std::uint16_t bits = 0;
    std::memcpy(&bits, tensor.bytes.data() + (3 * 64 + 7) * 2, 2);
    EXPECT_EQ(weight(7, 3), core::to_float(core::Half{bits}));
  }
}

TEST(TransformerTest, ATraceIsToldWhatTheModelIs) {
  const trace::ModelInfo info = model_info(Transformer(EVICTLAB_SOURCE_DIR "/models/demo/"));
  EXPECT_EQ(info.name, "demo");
  EXPECT_EQ(info.architecture, "LlamaForCausalLM");
  EXPECT_EQ(info.layers, 8);
  EXPECT_EQ(info.query_heads, 8);
  EXPECT_EQ(info.kv_heads, 4);
  EXPECT_EQ(info.head_dim, 32);
  EXPECT_EQ(info.hidden_size, 256);
  EXPECT_DOUBLE_EQ(info.attention_scale, 1.0 / std::sqrt(32.0));
  EXPECT_EQ(info.sliding_windows, std::vector<Index>(8, 0));
  EXPECT_EQ(info.position_encoding, "rope(theta=10000)");
  EXPECT_EQ(info.cache_element_bytes, 2);
  EXPECT_THAT(info.fingerprint, ::testing::StartsWith("xxh3-128:"));
  EXPECT_EQ(model_info(Transformer(testing::kCheckpoints / kGrouped)).cache_element_bytes, 4);
}

TEST(TransformerTest, TokensAndPositionsTheModelDoesNotHaveAreRefused) {
  const Transformer model(testing::kCheckpoints / kGrouped);
  KvCache cache = model.make_cache(600);
  const auto refusal = [&](const std::vector<std::int32_t>& tokens) {
    return testing::refusal<ModelError>([&] { model.forward(tokens, cache); });
  };
  EXPECT_THAT(refusal({}), HasSubstr("no tokens"));
  EXPECT_THAT(refusal({1, 96}), HasSubstr("token 96 at position 1, expected 0..95"));
  EXPECT_THAT(refusal({-1}), HasSubstr("token -1 at position 0"));
  EXPECT_THAT(refusal(std::vector<std::int32_t>(513, 1)), HasSubstr("513 positions asked for, the model has 512"));
  model.forward(random_tokens(500), cache);
  EXPECT_THAT(refusal(std::vector<std::int32_t>(13, 1)), HasSubstr("513 positions asked for, the model has 512"));
  EXPECT_NO_THROW(model.forward(std::vector<std::int32_t>(12, 1), cache));
}

class SpoiledModel : public ::testing::Test {
 protected:
  std::string refusal() {
    return testing::refusal<ModelError>([&] { Transformer model(path_); });
  }
  void patch(const json& changes) { testing::patch_json(path_ / "config.json", changes); }

  testing::TemporaryDirectory directory_;
  std::filesystem::path path_ = testing::copy_checkpoint(kGrouped, directory_ / "model");
};

TEST_F(SpoiledModel, AConfigThatContradictsTheWeightsIsRefusedNamingTheTensor) {
  patch({{"vocab_size", 97}});
  EXPECT_THAT(refusal(),
              AllOf(HasSubstr(path_.string()),
                    HasSubstr("'model.embed_tokens.weight' has shape [96, 48], but config.json asks for [97, 48]")));
  patch({{"vocab_size", 96}, {"num_key_value_heads", 3}});
  EXPECT_THAT(refusal(), HasSubstr("k_proj.weight' has shape [16, 48], but config.json asks for [24, 48]"));
  patch({{"num_key_value_heads", 2}, {"num_hidden_layers", 3}});
  EXPECT_THAT(refusal(), HasSubstr("'model.layers.2.input_layernorm.weight' is missing"));
}

TEST_F(SpoiledModel, WeightsThatTheConfigDoesNotAskForAreRefused) {
  patch({{"num_hidden_layers", 1}});
  EXPECT_THAT(refusal(), HasSubstr("tensor 'model.layers.1.input_layernorm.weight' has no place"));
  patch({{"num_hidden_layers", 2}, {"tie_word_embeddings", true}});
  EXPECT_EQ(refusal(), "nothing was refused") << "an output head beside tied embeddings is not used";
}

TEST_F(SpoiledModel, BiasesMustBeInTheWeightsAsTheConfigSays) {
  patch({{"attention_bias", true}});
  EXPECT_THAT(refusal(), HasSubstr("'model.layers.0.self_attn.q_proj.bias' is missing, expected shape [48]"));
  const std::filesystem::path biased = testing::copy_checkpoint(kBiased, directory_ / "biased");
  testing::patch_json(biased / "config.json", {{"mlp_bias", false}});
  EXPECT_THAT(testing::refusal<ModelError>([&] { Transformer model(biased); }),
              HasSubstr("mlp.down_proj.bias' has no place"));
}

TEST_F(SpoiledModel, AMissingDirectoryAndMissingWeightsAreRefused) {
  EXPECT_THAT(testing::refusal<core::InputError>([&] { Transformer model(directory_ / "none"); }),
              HasSubstr("none: no such model"));
  std::filesystem::remove(path_ / "model.safetensors");
  EXPECT_THAT(refusal(), HasSubstr("no model.safetensors"));
}

}  // namespace
}  // namespace evictlab::runtime
