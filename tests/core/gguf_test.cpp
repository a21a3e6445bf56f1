#include "core/gguf.hpp"

#include <random>

#include "../runtime/gguf_files.hpp"
#include "../runtime/model_files.hpp"
#include "core/error.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::core {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::GgufBuilder;
using testing::GgufTag;
using ::testing::HasSubstr;
using testing::number_bytes;

constexpr std::uint32_t kF32 = 0;
constexpr std::uint32_t kQ4_0 = 2;

class Gguf : public ::testing::Test {
 protected:
  GgufFile open(const std::string& bytes) {
    testing::write_file(path_, bytes);
    return GgufFile(path_);
  }
  GgufFile open(const GgufBuilder& builder) { return open(builder.bytes()); }
  std::string refusal(const std::string& bytes) {
    return testing::refusal<InputError>([&] { open(bytes); });
  }
  std::string refusal(const GgufBuilder& builder) { return refusal(builder.bytes()); }
  /// Of reading one value.
  template <typename Read>
  std::string value_refusal(const GgufBuilder& builder, const Read& read) {
    const GgufFile file = open(builder);
    return testing::refusal<InputError>([&] { read(file.metadata().at("key")); });
  }

  testing::TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "model.gguf";
};

TEST_F(Gguf, TensorsComeInTheOrderOfTheirBytesWithTheOutermostSizeFirst) {
  GgufBuilder builder;
  builder.tensor_at("b", {3, 2}, kF32, 32).tensor_at("a", {32}, kQ4_0, 0);
  builder.data(std::string(18, 'a') + std::string(14, '\0') + std::string(24, 'b'));
  for (const std::uint32_t version : {2U, 3U}) {
    const GgufFile file = open(builder.bytes(version));
    ASSERT_EQ(file.tensors().size(), 2U);
    EXPECT_EQ(file.tensors()[0].name, "a");
    EXPECT_EQ(file.tensors()[0].type, StorageType::kQ4_0);
    EXPECT_EQ(file.tensors()[0].bytes.size(), 18U);
    EXPECT_EQ(file.tensors()[1].name, "b");
    EXPECT_THAT(file.tensors()[1].shape, ElementsAre(2U, 3U));
    EXPECT_EQ(static_cast<char>(file.tensors()[1].bytes.front()), 'b');
    EXPECT_EQ(file.find_tensor("b"), &file.tensors()[1]);
    EXPECT_EQ(file.find_tensor("c"), nullptr);
  }
}

TEST_F(Gguf, ValuesAreReadByTheirTypes) {
  GgufBuilder builder;
  builder.text("text", "hé").u32("u32", 7).i32("i32", -7).f32("f32", 1e-5F).flag("yes", true);
  builder.texts("texts", {"", "a", "bc"}).integers("integers", {3, -1}).floats("floats", {0.5F, -2.0F});
  builder.array("bools", GgufTag::kBool, 2, std::string("\0\1", 2)).raw("u64", 10, number_bytes(~std::uint64_t{0}));
  builder.raw("f64", 12, number_bytes(0.1)).u16("u16", 65535).raw("i8", 1, "\xff");
  const GgufFile file = open(builder);
  const GgufMetadata& metadata = file.metadata();
  EXPECT_EQ(metadata.at("text").string(), "hé");
  EXPECT_EQ(metadata.at("u32").integer(0, 10), 7);
  EXPECT_EQ(metadata.at("i32").integer(-7, 10), -7);
  EXPECT_EQ(metadata.at("i8").integer(-7, 10), -1);
  EXPECT_EQ(metadata.at("u16").integer(0, 70000), 65535);
  // 1e-5, not 9.99999974737875e-06: what the file's maker meant.
  EXPECT_EQ(metadata.at("f32").number(), 1e-5);
  EXPECT_EQ(metadata.at("f64").number(), 0.1);
  EXPECT_EQ(metadata.at("u32").number(), 7.0);
  EXPECT_TRUE(metadata.at("yes").boolean());
  EXPECT_THAT(metadata.at("texts").strings(), ElementsAre("", "a", "bc"));
  EXPECT_THAT(metadata.at("integers").integers(-5, 5), ElementsAre(3, -1));
  EXPECT_THAT(metadata.at("floats").numbers(), ElementsAre(0.5F, -2.0F));
  EXPECT_THAT(metadata.at("bools").booleans(), ElementsAre(false, true));
  EXPECT_EQ(metadata.find("none"), nullptr);
  EXPECT_EQ(metadata.find_string("none"), std::nullopt);
  EXPECT_EQ(metadata.find_integer("u32", 0, 7), 7);
  EXPECT_TRUE(metadata.flag("none", true));
  EXPECT_THAT(testing::refusal<InputError>([&] { metadata.at("none"); }),
              AllOf(HasSubstr(path_.string()), HasSubstr("the metadata has no 'none'")));
}

TEST_F(Gguf, ValuesOfAnotherTypeOrRangeAreRefusedByKey) {
  const auto of = [](const auto& write) {
    GgufBuilder builder;
    write(builder);
    return builder;
  };
  const GgufBuilder text = of([](GgufBuilder& b) { b.text("key", "x"); });
  const GgufBuilder number = of([](GgufBuilder& b) { b.u32("key", 70); });
  const GgufBuilder list = of([](GgufBuilder& b) { b.integers("key", {1, 70}); });
  const GgufBuilder huge = of([](GgufBuilder& b) { b.raw("key", 10, number_bytes(~std::uint64_t{0})); });
  const GgufBuilder nothing = of([](GgufBuilder& b) { b.f32("key", std::numeric_limits<float>::quiet_NaN()); });
  const auto integer = [](const GgufValue& value) { value.integer(0, 69); };
  EXPECT_THAT(value_refusal(text, integer), HasSubstr("key: expected a whole number, got a value of type string"));
  EXPECT_THAT(value_refusal(number, integer), HasSubstr("expected a whole number from 0 to 69, got 70"));
  EXPECT_THAT(value_refusal(huge, integer), HasSubstr("from 0 to 69, got 18446744073709551615"));
  EXPECT_THAT(value_refusal(list, integer), HasSubstr("expected a whole number, got an array of int32"));
  EXPECT_THAT(value_refusal(list, [](const GgufValue& value) { value.integers(0, 69); }), HasSubstr("got 70"));
  EXPECT_THAT(value_refusal(list, [](const GgufValue& value) { value.strings(); }), HasSubstr("an array of strings"));
  EXPECT_THAT(value_refusal(number, [](const GgufValue& value) { value.string(); }), HasSubstr("expected a string"));
  EXPECT_THAT(value_refusal(number, [](const GgufValue& value) { value.boolean(); }), HasSubstr("expected a bool"));
  EXPECT_THAT(value_refusal(text, [](const GgufValue& value) { value.number(); }), HasSubstr("expected a number"));
  EXPECT_THAT(value_refusal(nothing, [](const GgufValue& value) { value.number(); }), HasSubstr("expected a finite"));
  EXPECT_THAT(value_refusal(text, [](const GgufValue& value) { value.numbers(); }), HasSubstr("an array of numbers"));
}

TEST_F(Gguf, WhatIsNotGgufOfAKnownVersionIsRefused) {
  EXPECT_THAT(refusal(""), AllOf(HasSubstr(path_.string()), HasSubstr("not a GGUF file")));
  EXPECT_THAT(refusal("PK\x03\x04 something else"), HasSubstr("not a GGUF file; a model is a directory"));
  EXPECT_THAT(refusal("GGUF\x01"), HasSubstr("truncated"));
  EXPECT_THAT(refusal(GgufBuilder().bytes(1)), HasSubstr("GGUF version 1; supported are 2 and 3"));
  EXPECT_THAT(refusal(GgufBuilder().bytes(0x03000000)), HasSubstr("a big-endian file"));
  EXPECT_THAT(testing::refusal<InputError>([&] { GgufFile(directory_ / "none.gguf"); }), HasSubstr("none.gguf"));
}

TEST_F(Gguf, CountsAndLengthsThatLeaveTheFileAreRefused) {
  const auto header = [](std::uint64_t tensors, std::uint64_t pairs) {
    return GgufBuilder::header_bytes(3, tensors, pairs);
  };
  EXPECT_THAT(refusal(header(~std::uint64_t{0}, 0)), HasSubstr("truncated: the list of tensors"));
  EXPECT_THAT(refusal(header(0, ~std::uint64_t{0})), HasSubstr("truncated: a key"));
  const std::string endless = number_bytes(~std::uint64_t{0});
  EXPECT_THAT(refusal(header(0, 1) + endless), HasSubstr("truncated: a key of 18446744073709551615 bytes"));
  EXPECT_THAT(refusal(GgufBuilder().raw("key", 8, endless)), HasSubstr("truncated: a value"));
  EXPECT_THAT(refusal(GgufBuilder().raw("key", 9, number_bytes(4U) + number_bytes(std::uint64_t{1} << 62U))),
              HasSubstr("key: truncated: an array of 4611686018427387904 uint32 values"));
  EXPECT_THAT(refusal(GgufBuilder().raw("key", 9, number_bytes(8U) + endless)), HasSubstr("truncated: an array"));
  EXPECT_THAT(refusal(GgufBuilder().raw("key", 13, "")), HasSubstr("key: a value of type 13"));
}

TEST_F(Gguf, ArraysWithinArraysAreWalkedToADepth) {
  // Each level is an array of one array; the innermost holds a byte.
  const auto nested = [](int levels) {
    std::string value;
    for (int i = 1; i < levels; ++i) value += number_bytes(9U) + number_bytes(std::uint64_t{1});
    return GgufBuilder().raw("key", 9, value + number_bytes(0U) + number_bytes(std::uint64_t{1}) + "x");
  };
  EXPECT_EQ(open(nested(8)).metadata().at("key").size(), 1U);
  EXPECT_THAT(refusal(nested(9)), HasSubstr("key: arrays nested more than 8 deep"));
  EXPECT_THAT(refusal(nested(100000)), HasSubstr("nested more than 8 deep"));
}

TEST_F(Gguf, KeysAndTensorsThatOccurTwiceAreRefused) {
  EXPECT_THAT(refusal(GgufBuilder().u32("key", 1).u32("key", 2)), HasSubstr("the key 'key' occurs twice"));
  EXPECT_THAT(refusal(GgufBuilder().tensor("a", {1}, kF32, "1234").tensor("a", {1}, kF32, "5678")),
              HasSubstr("tensor 'a': occurs twice"));
  EXPECT_THAT(refusal(GgufBuilder().u32("two\nlines", 1).u32("two\nlines", 2)), HasSubstr("two\\x0alines"));
}

TEST_F(Gguf, ATypeThatCannotBeExpandedIsRefusedByName) {
  EXPECT_THAT(refusal(GgufBuilder().tensor("a", {256}, 17, std::string(74, 'x'))),
              HasSubstr("tensor 'a': type IQ2_XS is not supported; known: F32, F16, BF16, Q4_0"));
  EXPECT_THAT(refusal(GgufBuilder().tensor("a", {1}, 77, "x")), HasSubstr("type 77 is not supported"));
}

TEST_F(Gguf, TensorsThatLeaveTheFileOrOverlapAreRefused) {
  const std::string data(64, 'x');
  EXPECT_THAT(refusal(GgufBuilder().tensor_at("a", {17}, kF32, 0).data(data)),
              HasSubstr("tensor 'a': F32 of shape [17] at byte 0 leaves the file, which has 64 bytes of data"));
  EXPECT_THAT(refusal(GgufBuilder().tensor_at("a", {1}, kF32, 64).data(data)), HasSubstr("leaves the file"));
  EXPECT_THAT(refusal(GgufBuilder().tensor_at("a", {1}, kF32, std::uint64_t{1} << 63U).data(data)),
              HasSubstr("leaves the file"));
  EXPECT_THAT(refusal(GgufBuilder().tensor_at("a", {1}, kF32, 4).data(data)),
              HasSubstr("offset 4 is not a multiple of the alignment 32"));
  EXPECT_THAT(refusal(GgufBuilder().tensor_at("a", {16}, kF32, 0).tensor_at("b", {1}, kF32, 32).data(data)),
              HasSubstr("tensor 'b': begins at byte 32 of the data, inside 'a', which ends at byte 64"));
  EXPECT_THAT(refusal(GgufBuilder().tensor_at("a", {1U << 31U, 1U << 31U, 8}, kF32, 0).data(data)),
              HasSubstr("shape [8, 2147483648, 2147483648] overflows"));
  EXPECT_THAT(refusal(GgufBuilder().tensor_at("a", {1, 1, 1, 1, 1}, kF32, 0).data(data)), HasSubstr("5 dimensions"));
  EXPECT_THAT(refusal(GgufBuilder().tensor_at("a", {33, 2}, kQ4_0, 0).data(data)),
              HasSubstr("rows of 33 elements, but Q4_0 has blocks of 32"));
}

TEST_F(Gguf, AnotherAlignmentCounts) {
  GgufBuilder builder;
  builder.alignment = 64;
  builder.u32("general.alignment", 64).tensor("a", {1}, kF32, "aaaa").tensor("b", {1}, kF32, "bbbb");
  const GgufFile file = open(builder);
  EXPECT_EQ(file.tensors()[1].bytes.data() - file.tensors()[0].bytes.data(), 64);
  EXPECT_THAT(refusal(GgufBuilder().u32("general.alignment", 0)), HasSubstr("general.alignment: expected"));
  EXPECT_THAT(refusal(GgufBuilder().u32("general.alignment", 24)), HasSubstr("expected a power of 2"));
  EXPECT_THAT(refusal(GgufBuilder().text("general.alignment", "32")), HasSubstr("expected a whole number"));
}

class SplitGguf : public Gguf {
 protected:
  std::filesystem::path part(int number) { return directory_ / fmt::format("big-{:05}-of-00003.gguf", number); }
  void write(int number, const GgufBuilder& builder) { testing::write_file(part(number), builder.bytes()); }
  static GgufBuilder piece(std::uint16_t number, std::string_view tensor) {
    GgufBuilder builder;
    if (number == 0) builder.text("general.name", "big").i32("split.tensors.count", 3);
    return builder.u16("split.no", number).u16("split.count", 3).tensor(tensor, {1}, kF32, "1234");
  }
  std::string refusal_of(int number) {
    return testing::refusal<InputError>([&] { GgufFile file(part(number)); });
  }
};

TEST_F(SplitGguf, TheFirstPartBringsTheOthersAlong) {
  for (std::uint16_t i = 0; i < 3; ++i) write(i + 1, piece(i, std::string(1, static_cast<char>('a' + i))));
  const GgufFile file(part(1));
  EXPECT_EQ(file.tensors().size(), 3U);
  EXPECT_EQ(file.metadata().at("general.name").string(), "big");
  EXPECT_EQ(gguf_name(part(1)), "big");
  EXPECT_THAT(gguf_parts(part(1)), ElementsAre(part(1), part(2), part(3)));
  EXPECT_THAT(gguf_parts(path_), ElementsAre(path_));
  EXPECT_EQ(gguf_name(path_), "model");
}

TEST_F(SplitGguf, PartsThatDoNotBelongTogetherAreRefused) {
  for (std::uint16_t i = 0; i < 3; ++i) write(i + 1, piece(i, std::string(1, static_cast<char>('a' + i))));
  EXPECT_THAT(refusal_of(2), HasSubstr("part 2 of 3; give the first, big-00001-of-00003.gguf"));
  write(3, piece(1, "c"));
  EXPECT_THAT(refusal_of(1), AllOf(HasSubstr("big-00003-of-00003.gguf"), HasSubstr("split.no is 1")));
  write(3, piece(2, "a"));
  EXPECT_THAT(refusal_of(1), HasSubstr("tensor 'a': occurs twice"));
  write(3, piece(2, "c").tensor("d", {1}, kF32, "1234"));
  EXPECT_THAT(refusal_of(1), HasSubstr("split.tensors.count is 3, but the parts hold 4 tensors"));
  std::filesystem::remove(part(3));
  EXPECT_THAT(refusal_of(1), HasSubstr("big-00003-of-00003.gguf"));
  EXPECT_THAT(refusal(piece(0, "a")), HasSubstr("split.count is 3, but the file's name stands for 1 of 1 parts"));
}

TEST_F(Gguf, RandomDamageNeverCrashes) {
  GgufBuilder builder;
  builder.text("general.architecture", "llama").texts("tokens", {"a", "b"}).floats("scores", {1.0F, 2.0F});
  builder.raw("nested", 9, number_bytes(9U) + number_bytes(std::uint64_t{0})).u32("general.alignment", 32);
  builder.tensor("a", {32, 2}, kQ4_0, std::string(36, 'a')).tensor("b", {3}, kF32, std::string(12, 'b'));
  const std::string sound = builder.bytes();
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    std::string damaged = sound.substr(0, round % 3 == 0 ? random() % sound.size() : sound.size());
    for (int i = 0; i < 3 && !damaged.empty(); ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
    try {
      const GgufFile file = open(damaged);
      for (const GgufTensor& tensor : file.tensors()) EXPECT_LE(tensor.bytes.size(), damaged.size());
    } catch (const InputError& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace evictlab::core
