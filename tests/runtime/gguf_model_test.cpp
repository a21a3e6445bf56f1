// Models in GGUF files against the same models in Hugging Face layout. Against transformers: conformance_test.cpp.

#include <utility>

#include "gguf_conversion.hpp"
#include "random_model.hpp"
#include "runtime/model_error.hpp"
#include "runtime/transformer.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::runtime {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::GgufBuilder;
using ::testing::HasSubstr;

trace::RowMatrix logits_of(const Transformer& model) {
  const std::vector<std::int32_t> tokens = testing::random_tokens(100, static_cast<int>(model.config().vocab_size));
  KvCache cache = model.make_cache(static_cast<Index>(tokens.size()));
  return model.forward_all(tokens, cache);
}

class GgufModel : public ::testing::Test {
 protected:
  std::filesystem::path write(const GgufBuilder& builder) {
    testing::write_file(path_, builder.bytes());
    return path_;
  }
  /// Converts a directory and expects the same model of it.
  void expect_same(const std::filesystem::path& directory, GgufBuilder builder) {
    SCOPED_TRACE(directory.filename());
    const Transformer original(directory);
    const Transformer converted(write(builder));
    EXPECT_EQ(logits_of(converted), logits_of(original));
    const ModelConfig& a = converted.config();
    const ModelConfig& b = original.config();
    EXPECT_EQ(a.max_positions, b.max_positions);
    EXPECT_EQ(a.rms_norm_eps, b.rms_norm_eps);
    EXPECT_EQ(a.eos_token_ids, b.eos_token_ids);
    EXPECT_EQ(a.sliding_windows, b.sliding_windows);
    EXPECT_EQ(a.tie_word_embeddings, b.tie_word_embeddings);
    EXPECT_EQ(a.dtype, b.dtype);
    EXPECT_EQ(describe(a.rope), describe(b.rope));
    for (Index layer = 0; layer < b.layers; ++layer) {
      EXPECT_EQ(converted.output_weight(layer), original.output_weight(layer));
    }
  }
  void expect_same(const std::string& name) {
    const std::filesystem::path directory = testing::kCheckpoints / name;
    expect_same(directory, testing::as_gguf(directory));
  }

  testing::TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "model.gguf";
};

TEST_F(GgufModel, GivesTheLogitsOfTheDirectoryThatItCameFromToTheLastBit) {
  expect_same("gqa-f32");
  expect_same("mha-biases-bf16");
  expect_same("llama-linear-bf16");
  expect_same("internlm2-linear-bf16");
  expect_same("qwen2-gqa-tied-bf16");
}

TEST_F(GgufModel, NormsOfQueriesAndKeysAreRead) {
  const std::filesystem::path qwen3 = testing::copy_checkpoint("qwen3-dynamic-f32", directory_ / "qwen3");
  testing::patch_json(qwen3 / "config.json", {{"rope_parameters", {{"rope_type", "default"}, {"factor", nullptr}}},
                                              {"use_sliding_window", false},
                                              {"max_position_embeddings", 160},
                                              {"layer_types", nullptr}});
  expect_same(qwen3, testing::as_gguf(qwen3));
}

TEST_F(GgufModel, SlidingWindowsAreOfAllLayersOrFollowAPattern) {
  const std::filesystem::path mistral = testing::kCheckpoints / "mistral-default-f16";
  expect_same(mistral, testing::as_gguf(mistral).u32("llama.attention.sliding_window", 24));
  const std::filesystem::path qwen2 = testing::kCheckpoints / "qwen2-yarn-bf16";
  expect_same(qwen2,
              testing::as_gguf(qwen2)
                  .u32("qwen2.attention.sliding_window", 20)
                  .array("qwen2.attention.sliding_window_pattern", testing::GgufTag::kBool, 2, std::string("\0\1", 2)));
  const auto windows = [&](std::uint32_t period) {
    return read_model_config(write(testing::as_gguf(mistral)
                                       .u32("llama.attention.sliding_window", 24)
                                       .u32("llama.attention.sliding_window_pattern", period)))
        .sliding_windows;
  };
  EXPECT_THAT(windows(2), ElementsAre(24, 0));
  EXPECT_THAT(windows(1), ElementsAre(0, 0));
  EXPECT_THAT(windows(0), ElementsAre(24, 24));
}

TEST_F(GgufModel, IsNamedAfterItsFileAndHasAFingerprint) {
  const std::filesystem::path source = testing::kCheckpoints / "gqa-f32";
  GgufBuilder builder = testing::as_gguf(source);
  const trace::ModelInfo info = model_info(Transformer(write(builder)));
  EXPECT_EQ(info.name, "model");
  EXPECT_EQ(info.architecture, "LlamaForCausalLM");
  EXPECT_EQ(info.cache_element_bytes, 4);
  EXPECT_EQ(info.fingerprint.substr(0, 9), "xxh3-128:");
  EXPECT_EQ(model_info(Transformer(write(builder.text("general.name", "other")))).fingerprint, info.fingerprint);
}

TEST_F(GgufModel, PartsAreOneModel) {
  const std::filesystem::path source = testing::kCheckpoints / "gqa-f32";
  GgufBuilder first = testing::as_gguf(source).u16("split.no", 0).u16("split.count", 2);
  GgufBuilder second;
  second.u16("split.no", 1).u16("split.count", 2);
  // Everything is in the first part but the divisors, which are 1.
  const std::string ones = testing::number_bytes(1.0F) + testing::number_bytes(1.0F) + testing::number_bytes(1.0F) +
                           testing::number_bytes(1.0F);
  second.tensor("rope_freqs.weight", {4}, 0, ones);
  testing::write_file(directory_ / "m-00001-of-00002.gguf", first.bytes());
  testing::write_file(directory_ / "m-00002-of-00002.gguf", second.bytes());
  const Transformer model(directory_ / "m-00001-of-00002.gguf");
  EXPECT_EQ(logits_of(model), logits_of(Transformer(source)));
  EXPECT_EQ(model_info(model).name, "m");
  EXPECT_EQ(model.config().rope.frequency_divisors.size(), 4U);
}

class GgufRefusal : public GgufModel {
 protected:
  std::string refusal(const GgufBuilder& builder) {
    return testing::refusal<core::InputError>([&] { Transformer model(write(builder)); });
  }
  GgufBuilder sound() { return testing::as_gguf(testing::kCheckpoints / "gqa-f32"); }
  /// A file with these pairs and an embedding.
  static GgufBuilder small() {
    GgufBuilder builder;
    builder.u32("llama.block_count", 1).u32("llama.embedding_length", 4).u32("llama.attention.head_count", 2);
    builder.u32("llama.feed_forward_length", 4).u32("llama.context_length", 8);
    return builder.tensor("token_embd.weight", {4, 3}, 0, std::string(48, '\0'));
  }
  static GgufBuilder llama() {
    return small().text("general.architecture", "llama").f32("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  }
};

TEST_F(GgufRefusal, WhatIsNotSupportedIsNamed) {
  EXPECT_THAT(
      refusal(small().text("general.architecture", "mamba2")),
      AllOf(HasSubstr(path_.string()), HasSubstr("general.architecture: 'mamba2' is not supported; known: llama, "
                                                 "mistral, qwen2, qwen3, internlm2")));
  EXPECT_THAT(refusal(sound().text("llama.rope.scaling.type", "longrope").f32("llama.rope.scaling.factor", 4.0F)),
              HasSubstr("llama.rope.scaling.type: rope type 'longrope' is not supported; known: none, linear, yarn"));
  EXPECT_THAT(refusal(sound().u32("llama.expert_count", 8)), HasSubstr("llama.expert_count: 8 is not supported"));
  EXPECT_THAT(refusal(sound().f32("llama.logit_scale", 0.5F)), HasSubstr("llama.logit_scale: 0.5 is not supported"));
  EXPECT_THAT(refusal(sound().flag("llama.attention.causal", false)), HasSubstr("only causal attention"));
  EXPECT_THAT(refusal(sound().u32("llama.attention.value_length", 12)),
              HasSubstr("llama.attention.value_length: is 12, but the heads have 8 elements"));
}

TEST_F(GgufRefusal, WhatIsMissingOrContradictsIsNamed) {
  EXPECT_THAT(refusal(small()), HasSubstr("the metadata has no 'general.architecture'"));
  EXPECT_THAT(refusal(GgufBuilder().text("general.architecture", "llama")), HasSubstr("token_embd.weight"));
  EXPECT_THAT(refusal(small().text("general.architecture", "llama")),
              HasSubstr("the metadata has no 'llama.attention.layer_norm_rms_epsilon'"));
  EXPECT_THAT(refusal(llama()), HasSubstr("tensor 'blk.0.attn_norm.weight' is missing, expected shape [4]"));
  EXPECT_THAT(refusal(llama().u32("llama.attention.head_count_kv", 3)),
              HasSubstr("metadata as config.json: num_attention_heads 2 is not a multiple of num_key_value_heads 3"));
  EXPECT_THAT(refusal(llama().tensor("blk.0.attn_norm.weight", {5}, 0, std::string(20, '\0'))),
              HasSubstr("has shape [5], but the metadata asks for [4]"));
  EXPECT_THAT(refusal(sound().tensor("blk.0.ffn_gate_inp.weight", {1}, 0, "1234")),
              HasSubstr("tensor 'blk.0.ffn_gate_inp.weight' has no place in the model"));
  EXPECT_THAT(refusal(sound().tensor("rope_freqs.weight", {3}, 0, std::string(12, '\0'))),
              HasSubstr("'rope_freqs.weight' has shape [3], expected [4]"));
  EXPECT_THAT(refusal(sound().tensor("rope_freqs.weight", {4}, 0, std::string(16, '\0'))),
              HasSubstr("expected positive numbers"));
  EXPECT_THAT(refusal(sound()
                          .u32("llama.attention.sliding_window", 4)
                          .array("llama.attention.sliding_window_pattern", testing::GgufTag::kBool, 1, "\1")),
              HasSubstr("sliding_window_pattern: expected one for each of"));
}

TEST_F(GgufRefusal, ADirectoryOrAnotherFileIsNoGguf) {
  testing::write_file(directory_ / "weights.bin", "PK");
  EXPECT_THAT(testing::refusal<core::InputError>([&] { Transformer model(directory_ / "weights.bin"); }),
              HasSubstr("not a GGUF file; a model is a directory with config.json or a .gguf file"));
  EXPECT_THAT(testing::refusal<core::InputError>([&] { Transformer model(directory_ / "none.gguf"); }),
              HasSubstr("none.gguf"));
}

}  // namespace
}  // namespace evictlab::runtime
