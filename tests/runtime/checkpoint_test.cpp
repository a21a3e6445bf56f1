#include "runtime/checkpoint.hpp"

#include "core/half.hpp"
#include "model_files.hpp"
#include "runtime/model_error.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::runtime {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// 1 and -2 in each type, little-endian.
constexpr std::string_view kFloats{"\x00\x00\x80\x3f\x00\x00\x00\xc0", 8};
constexpr std::string_view kHalves{"\x00\x3c\x00\xc0", 4};
constexpr std::string_view kBrains{"\x80\x3f\x00\xc0", 4};

class CheckpointTest : public ::testing::Test {
 protected:
  void write(const std::string& file, const std::string& header, std::string_view data) {
    testing::write_file(directory_ / file, testing::safetensors(header, data));
  }
  void write_index(const std::string& weight_map) {
    testing::write_file(directory_ / "model.safetensors.index.json",
                        R"({"metadata":{},"weight_map":)" + weight_map + "}");
  }
  std::string refusal() {
    return testing::refusal<ModelError>([&] { Checkpoint checkpoint(directory_.path()); });
  }

  testing::TemporaryDirectory directory_;
};

constexpr const char* kA = R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})";
constexpr const char* kB = R"({"b":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})";
constexpr const char* kBoth = R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},)"
                              R"("b":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}})";

TEST_F(CheckpointTest, EveryFloatTypeIsConvertedAtAnyAlignment) {
  // One byte in front moves all that follow to odd addresses.
  for (const bool odd : {false, true}) {
    const std::size_t at = odd ? 1 : 0;
    nlohmann::json header;
    if (odd) header["odd"] = {{"dtype", "U8"}, {"shape", {1}}, {"data_offsets", {0, 1}}};
    header["f32"] = {{"dtype", "F32"}, {"shape", {2}}, {"data_offsets", {at, at + 8}}};
    header["f16"] = {{"dtype", "F16"}, {"shape", {2, 1}}, {"data_offsets", {at + 8, at + 12}}};
    header["bf16"] = {{"dtype", "BF16"}, {"shape", {2}}, {"data_offsets", {at + 12, at + 16}}};
    write("model.safetensors", header.dump(),
          std::string(at, 'x') + std::string(kFloats) + std::string(kHalves) + std::string(kBrains));
    Checkpoint checkpoint(directory_.path());
    EXPECT_THAT(checkpoint.vector("f32", 2), ElementsAre(1.0F, -2.0F));
    EXPECT_THAT(checkpoint.vector("bf16", 2), ElementsAre(1.0F, -2.0F));
    const WeightMatrix matrix = checkpoint.matrix("f16", 2, 1);
    EXPECT_EQ(matrix.type(), core::StorageType::kFloat16);
    std::vector<float> second_row(1);
    matrix.copy_rows(1, second_row);
    EXPECT_THAT(second_row, ElementsAre(-2.0F));
  }
}

TEST_F(CheckpointTest, ATensorMustBeThereInTheAskedShapeAndAFloatType) {
  write(
      "model.safetensors",
      R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"i":{"dtype":"I32","shape":[1],"data_offsets":[4,8]}})",
      std::string(8, '\0'));
  Checkpoint checkpoint(directory_.path());
  EXPECT_THAT(testing::refusal<ModelError>([&] { checkpoint.vector("b", 2); }),
              HasSubstr("tensor 'b' is missing, expected shape [2]"));
  EXPECT_THAT(testing::refusal<ModelError>([&] { checkpoint.vector("a", 3); }),
              HasSubstr("tensor 'a' has shape [2], but config.json asks for [3]"));
  EXPECT_THAT(testing::refusal<ModelError>([&] { checkpoint.matrix("a", 1, 2); }),
              HasSubstr("tensor 'a' has shape [2], but config.json asks for [1, 2]"));
  EXPECT_THAT(testing::refusal<ModelError>([&] { checkpoint.vector("i", 1); }),
              HasSubstr("tensor 'i' has dtype I32, supported are F32, F16, BF16"));
}

TEST_F(CheckpointTest, TensorsNobodyAskedForAreNamed) {
  write("model.safetensors", kBoth, std::string(kHalves) + std::string(kHalves));
  Checkpoint checkpoint(directory_.path());
  checkpoint.vector("a", 2);
  EXPECT_THAT(checkpoint.unused(), ElementsAre("b"));
}

TEST_F(CheckpointTest, NamesWithoutTheModelsPrefixAreGivenIt) {
  write("model.safetensors",
        R"({"lm_head.weight":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},)"
        R"("norm.weight":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}})",
        std::string(kHalves) + std::string(kHalves));
  const Checkpoint checkpoint(directory_.path());
  EXPECT_TRUE(checkpoint.contains("model.norm.weight"));
  EXPECT_TRUE(checkpoint.contains("lm_head.weight"));
}

TEST_F(CheckpointTest, PicklesAreRefusedWithTheReason) {
  testing::write_file(directory_ / "pytorch_model.bin", "x");
  EXPECT_THAT(refusal(), HasSubstr("pytorch_model.bin: is a PyTorch pickle, which can run code"));
}

TEST_F(CheckpointTest, WhatAnIndexListsMayBeMissingUntilItIsAskedFor) {
  write("one.safetensors", kA, kHalves);
  write_index(R"({"a":"one.safetensors","c":"one.safetensors"})");
  Checkpoint checkpoint(directory_.path());
  EXPECT_THAT(checkpoint.vector("a", 2), ElementsAre(1.0F, -2.0F));
  EXPECT_THAT(testing::refusal<ModelError>([&] { checkpoint.vector("c", 2); }),
              HasSubstr("one.safetensors: tensor 'c' is missing, though model.safetensors.index.json lists it there"));
}

TEST_F(CheckpointTest, ShardsAreReadAsOneAndHaveTheFingerprintOfASingleFile) {
  write("one.safetensors", kA, kHalves);
  write("two.safetensors", kB, kHalves);
  write_index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  Checkpoint shards(directory_.path());
  EXPECT_THAT(shards.vector("a", 2), ElementsAre(1.0F, -2.0F));
  EXPECT_THAT(shards.vector("b", 2), ElementsAre(1.0F, -2.0F));

  write("model.safetensors", kBoth, std::string(kHalves) + std::string(kHalves));
  const std::string fingerprint = Checkpoint(directory_.path()).fingerprint();
  EXPECT_THAT(fingerprint, StartsWith("xxh3-128:"));
  EXPECT_EQ(fingerprint.size(), std::string("xxh3-128:").size() + 32);
  EXPECT_EQ(shards.fingerprint(), fingerprint);
}

TEST_F(CheckpointTest, TheFingerprintSeesNamesTypesShapesAndBytes) {
  std::set<std::string> seen;
  const auto add = [&](const std::string& header, std::string_view data) {
    write("model.safetensors", header, data);
    seen.insert(Checkpoint(directory_.path()).fingerprint());
  };
  add(kA, kHalves);
  add(kB, kHalves);
  add(R"({"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}})", kHalves);
  add(R"({"a":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]}})", kHalves);
  add(kA, kBrains);
  EXPECT_EQ(seen.size(), 5U);
}

TEST_F(CheckpointTest, ADirectoryWithoutWeightsIsRefused) {
  EXPECT_THAT(refusal(), AllOf(HasSubstr(directory_.path().string()), HasSubstr("no model.safetensors and no")));
}

TEST_F(CheckpointTest, AnIndexThatDoesNotFitItsShardsIsRefused) {
  write("one.safetensors", kA, kHalves);
  write("two.safetensors", kBoth, std::string(kHalves) + std::string(kHalves));
  write_index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  EXPECT_THAT(
      refusal(),
      HasSubstr("two.safetensors: holds tensor 'a', which model.safetensors.index.json lists in one.safetensors"));
  write_index(R"({"a":"../one.safetensors"})");
  EXPECT_THAT(refusal(),
              HasSubstr("weight_map.a: expected the name of a file in the same directory, got '../one.safetensors'"));
  write_index("[]");
  EXPECT_THAT(refusal(), HasSubstr("expected an object, got an array"));
  write_index(R"({"a":"gone.safetensors"})");
  EXPECT_THAT(testing::refusal<core::InputError>([&] { Checkpoint checkpoint(directory_.path()); }),
              HasSubstr("gone.safetensors"));
}

}  // namespace
}  // namespace evictlab::runtime
