#include "core/safetensors.hpp"

#include <cstring>
#include <random>

#include "../runtime/model_files.hpp"
#include "core/error.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::core {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class Safetensors : public ::testing::Test {
 protected:
  SafetensorsFile open(const std::string& bytes) {
    testing::write_file(path_, bytes);
    return SafetensorsFile(path_);
  }
  std::string refusal(const std::string& bytes) {
    return testing::refusal<InputError>([&] { open(bytes); });
  }
  /// Of a file with that header over `data_bytes` zeros.
  std::string header_refusal(const std::string& header, std::size_t data_bytes) {
    return refusal(testing::safetensors(header, std::string(data_bytes, '\0')));
  }

  testing::TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "model.safetensors";
};

TEST_F(Safetensors, TensorsComeInTheOrderOfTheirBytesWhateverTheHeaderSays) {
  const auto file = open(testing::safetensors(
      R"({"b":{"dtype":"F16","shape":[3],"data_offsets":[4,10]},"__metadata__":{"format":"pt"},)"
      R"("a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},"empty":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]}})",
      "0123456789"));
  ASSERT_EQ(file.tensors().size(), 3U);
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.tensors()[1].name, "empty");
  EXPECT_EQ(file.tensors()[2].name, "b");
  EXPECT_EQ(file.tensors()[2].dtype, "F16");
  EXPECT_EQ(file.tensors()[2].shape, std::vector<std::uint64_t>{3});
  EXPECT_EQ(std::memcmp(file.tensors()[2].bytes.data(), "456789", 6), 0);
}

TEST_F(Safetensors, AFileWithoutTensorsIsSound) { EXPECT_TRUE(open(testing::safetensors("{}", "")).tensors().empty()); }

TEST_F(Safetensors, TruncatedFilesAreRefused) {
  EXPECT_THAT(refusal(""), AllOf(HasSubstr(path_.string()), HasSubstr("too short")));
  EXPECT_THAT(refusal("1234567"), HasSubstr("7 bytes, too short"));
  EXPECT_THAT(refusal(testing::length_bytes(3) + "{}"), HasSubstr("truncated: header of 3 bytes in a file of 10"));
}

TEST_F(Safetensors, OversizedHeaderLengthsAreRefused) {
  EXPECT_THAT(refusal(testing::length_bytes(100'000'001) + "{}"), HasSubstr("more than the format's 100000000"));
  EXPECT_THAT(refusal(testing::length_bytes(~std::uint64_t{0}) + "{}"),
              HasSubstr("header of 18446744073709551615 bytes"));
}

TEST_F(Safetensors, HeadersThatAreNoJsonObjectAreRefused) {
  EXPECT_THAT(header_refusal("{\"a\":", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(header_refusal("{\"\xff\":1}", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(header_refusal("[]", 0), HasSubstr("expected an object, got an array"));
  EXPECT_THAT(header_refusal(R"({"a":7})", 0), HasSubstr("a: expected an object, got a number"));
}

TEST_F(Safetensors, ANameThatOccursTwiceIsRefused) {
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                             2),
              HasSubstr("the name 'a' occurs twice in an object"));
}

TEST_F(Safetensors, AnUnknownDtypeIsNamed) {
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"F12","shape":[1],"data_offsets":[0,1]}})", 1),
              HasSubstr("tensor 'a': unknown dtype 'F12'"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":3,"shape":[1],"data_offsets":[0,1]}})", 1),
              HasSubstr("a.dtype: expected a string, got a number"));
}

TEST_F(Safetensors, BytesMustBeAsManyAsDtypeAndShapeTake) {
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,23]}})", 23),
              HasSubstr("23 bytes, but F32 of shape [2, 3] takes 24"));
}

TEST_F(Safetensors, ShapesWhoseProductOverflowsAreRefused) {
  // 4 * 2^32 * 2^31 = 2^65, which is 0 in 64 bits.
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"F32","shape":[4294967296,2147483648],"data_offsets":[0,0]}})", 0),
              HasSubstr("shape [4294967296, 2147483648] overflows"));
}

TEST_F(Safetensors, OffsetsThatLeaveTheFileOrRunBackwardsAreRefused) {
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})", 8),
              HasSubstr("bytes [0, 9) leave the file, which has 8 bytes of data"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[2,1]}})", 8),
              HasSubstr("expected [begin, end]"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 8),
              HasSubstr("expected [begin, end]"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}})", 8),
              HasSubstr("a.data_offsets[0]: expected a whole number from 0 to"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}})", 8),
              HasSubstr("a.shape[0]: expected a whole number from 0 to"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"U8","shape":[1]}})", 8), HasSubstr("a: has no 'data_offsets'"));
}

TEST_F(Safetensors, OverlapsAndHolesAreRefused) {
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                             R"("b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
                             7),
              HasSubstr("tensor 'b' begins at byte 3 of the data, inside another that ends at byte 4"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                             R"("b":{"dtype":"U8","shape":[2],"data_offsets":[5,7]}})",
                             7),
              HasSubstr("tensor 'b' begins at byte 5 of the data, leaving a hole from byte 4"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 7),
              HasSubstr("3 bytes after the last tensor"));
}

TEST_F(Safetensors, AMissingFileIsRefusedByName) {
  EXPECT_THAT(testing::refusal<core::InputError>([&] { SafetensorsFile(directory_ / "none.safetensors"); }),
              HasSubstr("none.safetensors"));
}

TEST_F(Safetensors, RandomDamageNeverCrashes) {
  const std::string sound = testing::read_file(testing::kCheckpoints / "mha-biases-bf16" / "model.safetensors");
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string damaged = sound.substr(0, round % 3 == 0 ? random() % sound.size() : sound.size());
    for (int i = 0; i < 3 && !damaged.empty(); ++i) {
      damaged[random() % std::min<std::size_t>(damaged.size(), 3000)] = static_cast<char>(random());
    }
    try {
      const SafetensorsFile file = open(damaged);
      for (const StoredTensor& tensor : file.tensors()) {
        EXPECT_LE(tensor.bytes.size(), damaged.size());
      }
    } catch (const core::InputError& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace evictlab::core
