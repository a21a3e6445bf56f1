// Models in GGUF files against the same models in Hugging Face layout. Against transformers: conformance_test.cpp.

#include <random>
#include <utility>

#include "core/file.hpp"
#include "core/message.hpp"
#include "gguf_conversion.hpp"
#include "random_model.hpp"
#include "runtime/model_error.hpp"
#include "runtime/tokenizer/tokenizer.hpp"
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
              HasSubstr("llama.attention.head_count_kv: is 3, but the 2 query heads are no multiple of it"));
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

TEST_F(GgufRefusal, SizesAreRefusedByTheKeysOfTheFile) {
  const std::vector<std::pair<std::string, std::uint32_t>> sound = {{"block_count", 1},
                                                                    {"embedding_length", 4},
                                                                    {"attention.head_count", 2},
                                                                    {"feed_forward_length", 4},
                                                                    {"context_length", 8}};
  const auto refusal_with = [&](std::string_view changed, std::uint32_t value) {
    GgufBuilder builder;
    builder.text("general.architecture", "llama").f32("llama.attention.layer_norm_rms_epsilon", 1e-5F);
    for (const auto& [key, usual] : sound) builder.u32("llama." + key, key == changed ? value : usual);
    return refusal(builder.tensor("token_embd.weight", {4, 3}, 0, std::string(48, '\0')));
  };
  for (const auto& [key, usual] : sound) {
    const auto names_the_key = HasSubstr(path_.string() + ": llama." + key + ": expected a whole number from 1");
    EXPECT_THAT(refusal_with(key, 0), names_the_key);
    EXPECT_THAT(refusal_with(key, UINT32_MAX), names_the_key);
  }
  EXPECT_THAT(refusal_with("attention.head_count", 3),
              HasSubstr("llama.embedding_length: is 4, no multiple of 3 attention heads"));
  EXPECT_THAT(refusal(llama().u32("llama.attention.key_length", 3)),
              HasSubstr("llama.attention.key_length: is 3, expected an even number"));
  EXPECT_THAT(refusal(llama().u32("llama.attention.sliding_window", 1U << 31U)),
              HasSubstr("llama.attention.sliding_window: expected a whole number from 0 to 2147483647"));
}

// What stands in a header is a stranger's: whatever it says, reading it ends, in one line where it is not sound.
TEST_F(GgufRefusal, ADamagedHeaderIsReadOrRefusedInOneLine) {
  std::mt19937 random(1);
  const auto below = [&](std::size_t limit) { return static_cast<std::size_t>(random() % limit); };
  const std::vector<std::uint64_t> numbers = {
      0, 1, 8, 255, 1U << 31U, std::uint64_t{1} << 32U, std::uint64_t{1} << 61U, std::uint64_t{1} << 63U, UINT64_MAX};
  for (const char* kind : {"smollm", "llama"}) {
    const std::string sound =
        core::read_text(std::filesystem::path(EVICTLAB_TEST_DATA) / "gguf/tokenizers" / (std::string(kind) + ".gguf"));
    for (int round = 0; round < 300; ++round) {
      std::string damaged = sound;
      const std::string number = testing::number_bytes(numbers[below(numbers.size())]);
      const std::size_t at = below(damaged.size() - 8);
      switch (below(3)) {
        case 0:
          damaged[at] = static_cast<char>(damaged[at] ^ (1 << below(8)));
          break;
        case 1:
          damaged.replace(at, below(2) == 0 ? 8 : 4, number, 0, std::string::npos);
          break;
        default:
          damaged.resize(at);
      }
      testing::write_file(path_, damaged);
      try {
        const core::GgufFile file(path_);
        Tokenizer::from_gguf(file).encode("The code of x3 is 28371.\n", true);
      } catch (const core::InputError& error) {
        EXPECT_THAT(core::one_line(error.what()), HasSubstr(path_.string()));
        EXPECT_LT(std::string_view(error.what()).size(), 1500U);
      }
    }
  }
}

TEST_F(GgufRefusal, ObservedNumbersThatAreNotFiniteAreRefusedByTheNameOfTheFile) {
  GgufBuilder builder = sound().text("llama.rope.scaling.type", "yarn").f32("llama.rope.scaling.factor", 4.0F);
  const Transformer model(write(builder.f32("llama.rope.scaling.attn_factor", 3e38F)));
  const std::vector<std::int32_t> tokens = testing::random_tokens(40, static_cast<int>(model.config().vocab_size));
  KvCache cache = model.make_cache(40);
  ForwardObserver observer;
  EXPECT_THAT(testing::refusal<core::InputError>([&] { model.forward(tokens, cache, &observer); }),
              AllOf(HasSubstr(path_.string()), HasSubstr("hidden states are not finite")));
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
