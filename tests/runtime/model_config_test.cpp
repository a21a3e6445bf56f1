#include "runtime/model_config.hpp"

#include <cmath>

#include "model_files.hpp"
#include "runtime/model_error.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::runtime {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kMinimal = R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 48, "num_hidden_layers": 3,
  "num_attention_heads": 6, "intermediate_size": 80, "vocab_size": 96, "max_position_embeddings": 512})";

class ModelConfigTest : public ::testing::Test {
 protected:
  ModelConfig read(const json& patch = json::object()) {
    json config = json::parse(kMinimal);
    config.merge_patch(patch);
    testing::write_file(directory_ / "config.json", config.dump());
    return read_model_config(directory_.path());
  }
  /// Null stays null, which merge_patch() takes as a key to remove.
  ModelConfig read_whole(const json& changes) {
    json config = json::parse(kMinimal);
    config.update(changes);
    testing::write_file(directory_ / "config.json", config.dump());
    return read_model_config(directory_.path());
  }
  std::string refusal(const json& patch) {
    const std::string message = testing::refusal<ModelError>([&] { read(patch); });
    EXPECT_THAT(message, HasSubstr((directory_ / "config.json").string()));
    return message;
  }

  testing::TemporaryDirectory directory_;
};

TEST_F(ModelConfigTest, WhatIsNotSaidHasTransformersDefaults) {
  const ModelConfig config = read();
  EXPECT_EQ(config.architecture->name, "LlamaForCausalLM");
  EXPECT_EQ(config.layers, 3);
  EXPECT_EQ(config.kv_heads, 6);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(describe(config.rope), "rope(theta=10000)");
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_FALSE(config.query_key_value_bias);
  EXPECT_FALSE(config.attention_output_bias);
  EXPECT_FALSE(config.mlp_bias);
  EXPECT_THAT(config.eos_token_ids, IsEmpty());
  EXPECT_THAT(config.sliding_windows, ElementsAre(0, 0, 0));
  EXPECT_EQ(config.dtype, "");
}

TEST_F(ModelConfigTest, WhatIsSaidIsTaken) {
  const ModelConfig config = read({{"num_key_value_heads", 2},
                                   {"head_dim", 16},
                                   {"rms_norm_eps", 1e-5},
                                   {"tie_word_embeddings", true},
                                   {"attention_bias", true},
                                   {"mlp_bias", true},
                                   {"eos_token_id", 2},
                                   {"torch_dtype", "bfloat16"}});
  EXPECT_EQ(config.group_size(), 3);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.attention_scale(), 0.25);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_TRUE(config.query_key_value_bias);
  EXPECT_TRUE(config.attention_output_bias);
  EXPECT_TRUE(config.mlp_bias);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2));
  EXPECT_EQ(config.dtype, "bfloat16");
}

TEST_F(ModelConfigTest, Qwen2AlwaysHasBiasesOnQueryKeyAndValueAndNeverOnTheOutput) {
  const ModelConfig config = read({{"architectures", {"Qwen2ForCausalLM"}}});
  EXPECT_TRUE(config.query_key_value_bias);
  EXPECT_FALSE(config.attention_output_bias);
}

TEST_F(ModelConfigTest, BiasesAreThoseTheArchitectureKnows) {
  const json asked = {{"attention_bias", true}, {"mlp_bias", true}};
  json config = asked;
  config["architectures"] = {"MistralForCausalLM"};
  EXPECT_FALSE(read(config).query_key_value_bias);
  EXPECT_FALSE(read(config).mlp_bias);
  config["architectures"] = {"Qwen3ForCausalLM"};
  EXPECT_TRUE(read(config).query_key_value_bias);
  EXPECT_TRUE(read(config).attention_output_bias);
  EXPECT_FALSE(read(config).mlp_bias);
  EXPECT_TRUE(read({{"architectures", {"InternLM2ForCausalLM"}}, {"bias", true}}).attention_output_bias);
  EXPECT_FALSE(read({{"architectures", {"InternLM2ForCausalLM"}}, {"attention_bias", true}}).attention_output_bias);
}

TEST_F(ModelConfigTest, MistralSeesTheLastPositionsInEveryLayer) {
  const auto windows = [&](const json& patch) {
    json config = patch;
    config["architectures"] = {"MistralForCausalLM"};
    return read(config).sliding_windows;
  };
  EXPECT_THAT(windows({{"sliding_window", 256}}), ElementsAre(256, 256, 256));
  EXPECT_THAT(windows(json::object()), ElementsAre(4096, 4096, 4096));
  EXPECT_THAT(read_whole({{"architectures", {"MistralForCausalLM"}}, {"sliding_window", nullptr}}).sliding_windows,
              ElementsAre(0, 0, 0));
}

TEST_F(ModelConfigTest, QwenChoosesTheLayersThatSeeTheLastPositions) {
  const json used = {{"architectures", {"Qwen2ForCausalLM"}}, {"use_sliding_window", true}, {"sliding_window", 64}};
  const auto with = [&](const char* key, const json& value) {
    json config = used;
    config[key] = value;
    return config;
  };
  EXPECT_THAT(read(used).sliding_windows, ElementsAre(0, 0, 0)) << "max_window_layers is 28";
  EXPECT_THAT(read(with("max_window_layers", 1)).sliding_windows, ElementsAre(0, 64, 64));
  EXPECT_THAT(read(with("max_window_layers", 0)).sliding_windows, ElementsAre(64, 64, 64));
  EXPECT_THAT(read(with("layer_types", {"sliding_attention", "full_attention", "sliding_attention"})).sliding_windows,
              ElementsAre(64, 0, 64));
  EXPECT_THAT(refusal(with("layer_types", {"full_attention"})),
              HasSubstr("layer_types: expected one type for each of 3 layers, got 1"));
  EXPECT_THAT(
      refusal(with("layer_types", {"full_attention", "linear_attention", "full_attention"})),
      HasSubstr("layer_types[1]: 'linear_attention' is not supported; known: full_attention, sliding_attention"));
  json none = with("max_window_layers", 1);
  none["sliding_window"] = nullptr;
  none["architectures"] = {"Qwen3ForCausalLM"};
  EXPECT_THAT(read_whole(none).sliding_windows, ElementsAre(0, 0, 0)) << "null is none";
  json unused = with("layer_types", {"full_attention", "sliding_attention", "full_attention"});
  unused["use_sliding_window"] = false;
  EXPECT_THAT(refusal(unused), HasSubstr("use_sliding_window is not true"));
  EXPECT_THAT(read({{"use_sliding_window", true}, {"sliding_window", 64}}).sliding_windows, ElementsAre(0, 0, 0))
      << "Llama has none";
}

TEST_F(ModelConfigTest, ScaledRopesReadMorePositions) {
  const auto scaled = [&](const json& scaling) { return read({{"rope_scaling", scaling}}); };
  EXPECT_EQ(scaled({{"type", "linear"}, {"factor", 4.0}}).max_positions, 2048);
  const ModelConfig dynamic = scaled({{"type", "dynamic"}, {"factor", 2.5}});
  EXPECT_EQ(dynamic.max_positions, 1280);
  EXPECT_EQ(describe(dynamic.rope), "rope(theta=10000,type=dynamic,factor=2.5,original_positions=512)");
  const ModelConfig yarn = scaled({{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 256}});
  EXPECT_EQ(yarn.max_positions, 1024);
  EXPECT_NEAR(yarn.rope.attention_factor, 0.1 * std::log(4.0) + 1.0, 1e-12);
  EXPECT_EQ(scaled({{"type", "yarn"}, {"factor", 4.0}}).rope.original_positions, 512);
  EXPECT_EQ(scaled({{"type", "yarn"}, {"factor", 4.0}, {"attention_factor", 0.5}}).rope.attention_factor, 0.5);
  EXPECT_THAT(refusal({{"rope_scaling", {{"type", "linear"}}}}), HasSubstr("rope_scaling: has no 'factor'"));
  EXPECT_THAT(refusal({{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}, {"beta_slow", 40.0}}}}),
              HasSubstr("beta_slow is 40, expected at most beta_fast 32"));
}

TEST_F(ModelConfigTest, BothRopeNotationsMeanTheSame) {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 256}};
  json parameters = llama3;
  parameters["rope_theta"] = 5e5;
  const std::string expected =
      "rope(theta=500000,type=llama3,factor=8,low_freq_factor=1,high_freq_factor=4,original_positions=256)";
  EXPECT_EQ(describe(read({{"rope_theta", 5e5}, {"rope_scaling", llama3}}).rope), expected);
  EXPECT_EQ(describe(read({{"rope_parameters", parameters}}).rope), expected);
  json old_key = llama3;
  old_key.erase("rope_type");
  old_key["type"] = "llama3";
  EXPECT_EQ(describe(read({{"rope_theta", 5e5}, {"rope_scaling", old_key}}).rope), expected);
}

TEST_F(ModelConfigTest, GenerationConfigDecidesOnTheEndTokens) {
  testing::write_file(directory_ / "generation_config.json", R"({"eos_token_id": [3, 4]})");
  EXPECT_THAT(read({{"eos_token_id", 2}}).eos_token_ids, ElementsAre(3, 4));
  testing::write_file(directory_ / "generation_config.json", R"({"eos_token_id": null})");
  EXPECT_THAT(read({{"eos_token_id", json::array({2, 5})}}).eos_token_ids, ElementsAre(2, 5));
  testing::write_file(directory_ / "generation_config.json", R"({"eos_token_id": 96})");
  EXPECT_THAT(testing::refusal<ModelError>([&] { read(); }),
              AllOf(HasSubstr("generation_config.json"),
                    HasSubstr("eos_token_id: expected a whole number from 0 to 95, got 96")));
}

TEST_F(ModelConfigTest, AnUnsupportedArchitectureIsNamedWithThoseKnown) {
  EXPECT_THAT(
      refusal({{"architectures", {"MambaForCausalLM"}}}),
      HasSubstr("architectures[0]: 'MambaForCausalLM' is not supported; known: LlamaForCausalLM, MistralForCausalLM, "
                "Qwen2ForCausalLM, Qwen3ForCausalLM, InternLM2ForCausalLM"));
  EXPECT_THAT(refusal({{"architectures", "LlamaForCausalLM"}}),
              HasSubstr("architectures: expected an array, got a string"));
  EXPECT_THAT(refusal({{"architectures", nullptr}}), HasSubstr("has no 'architectures'"));
}

TEST_F(ModelConfigTest, UnsupportedFeaturesAreNamed) {
  EXPECT_THAT(refusal({{"hidden_act", "gelu"}}), HasSubstr("hidden_act 'gelu' is not supported; known: silu"));
  EXPECT_THAT(
      refusal({{"rope_scaling", {{"rope_type", "longrope"}, {"factor", 4.0}}}}),
      HasSubstr("rope_scaling: rope type 'longrope' is not supported; known: default, linear, dynamic, llama3, yarn"));
  EXPECT_THAT(refusal({{"rope_parameters", {{"rope_theta", 1e4}, {"partial_rotary_factor", 0.5}}}}),
              HasSubstr("partial_rotary_factor 0.5 is not supported"));
  EXPECT_THAT(refusal({{"quantization_config", {{"quant_method", "gptq"}}}}),
              HasSubstr("quantization_config ('gptq')"));
  EXPECT_THAT(refusal({{"dtype", "float8_e4m3fn"}}), HasSubstr("dtype 'float8_e4m3fn' is not supported"));
}

TEST_F(ModelConfigTest, EverySizeMustBeThereAndSane) {
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size",
                          "max_position_embeddings"}) {
    EXPECT_THAT(refusal({{key, nullptr}}), HasSubstr("has no '" + std::string(key) + "'"));
    EXPECT_THAT(refusal({{key, "48"}}), HasSubstr(std::string(key) + ": expected a whole number, got a string"));
    EXPECT_THAT(refusal({{key, 4.5}}), HasSubstr(std::string(key) + ": expected a whole number from 1 to "));
    EXPECT_THAT(refusal({{key, 0}}), HasSubstr(std::string(key) + ": expected a whole number from 1 to "));
    EXPECT_THAT(refusal({{key, -6}}), HasSubstr(", got -6"));
    EXPECT_THAT(refusal({{key, 1LL << 40}}), HasSubstr(", got 1099511627776"));
  }
  EXPECT_THAT(refusal({{"tie_word_embeddings", 1}}),
              HasSubstr("tie_word_embeddings: expected true or false, got a number"));
  EXPECT_THAT(refusal({{"rms_norm_eps", 0}}), HasSubstr("rms_norm_eps: expected a number above 0, got 0"));
  EXPECT_THAT(refusal({{"rope_theta", "x"}}), HasSubstr("rope_theta: expected a number, got a string"));
  EXPECT_THAT(refusal({{"rope_scaling", 2}}), HasSubstr("rope_scaling: expected an object, got a number"));
}

TEST_F(ModelConfigTest, ContradictionsBetweenHeadsAreRefused) {
  EXPECT_THAT(refusal({{"num_key_value_heads", 4}}),
              HasSubstr("num_attention_heads 6 is not a multiple of num_key_value_heads 4"));
  EXPECT_THAT(refusal({{"num_attention_heads", 5}}),
              HasSubstr("hidden_size 48 is not a multiple of num_attention_heads 5"));
  EXPECT_THAT(refusal({{"head_dim", 7}}), HasSubstr("head_dim is 7, expected an even number"));
  EXPECT_THAT(refusal({{"head_dim", 1 << 24}}), HasSubstr("num_attention_heads 6 of head_dim 16777216"));
}

TEST_F(ModelConfigTest, Llama3RopeNeedsAllItsParameters) {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 256}};
  for (const char* key : {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    json lacking = llama3;
    lacking.erase(key);
    EXPECT_THAT(refusal({{"rope_scaling", lacking}}), HasSubstr(std::string("rope_scaling: has no '") + key + "'"));
  }
  json equal = llama3;
  equal["high_freq_factor"] = 1.0;
  EXPECT_THAT(refusal({{"rope_scaling", equal}}),
              HasSubstr("low_freq_factor is 1, expected less than high_freq_factor 1"));
}

TEST_F(ModelConfigTest, FilesThatAreNoJsonOrNotThereAreRefused) {
  EXPECT_THAT(testing::refusal<core::InputError>([&] { read_model_config(directory_.path()); }),
              HasSubstr("config.json"));
  testing::write_file(directory_ / "config.json", "{\"architectures\":\n");
  EXPECT_THAT(testing::refusal<ModelError>([&] { read_model_config(directory_.path()); }),
              HasSubstr("config.json: not valid JSON"));
}

}  // namespace
}  // namespace evictlab::runtime
