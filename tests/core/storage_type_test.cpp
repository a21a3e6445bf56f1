#include "core/storage_type.hpp"

#include <cstring>
#include <vector>

#include "core/gguf.hpp"
#include "core/half.hpp"
#include "core/quantized_blocks.hpp"
#include "core/safetensors.hpp"

namespace evictlab::core {
namespace {

const std::filesystem::path kFixtures = std::filesystem::path(EVICTLAB_TEST_DATA) / "gguf";

template <typename Block>
std::vector<float> expanded(StorageType type, const Block& block, std::size_t elements) {
  std::vector<float> out(elements);
  expand(type, std::as_bytes(std::span(&block, 1)), out);
  return out;
}

TEST(StorageTypes, EveryTypeExpandsToTheFloatsOfTheGgufPackageToTheLastBit) {
  const GgufFile stored(kFixtures / "blocks.gguf");
  const SafetensorsFile file(kFixtures / "blocks.safetensors");
  std::size_t types = 0;
  for (const StoredTensor& expected : file.tensors()) {
    SCOPED_TRACE(expected.name);
    const GgufTensor* tensor = stored.find_tensor(expected.name);
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(storage_layout(tensor->type).name, expected.name);
    EXPECT_EQ(tensor->shape, expected.shape);
    std::vector<float> floats(expected.bytes.size() / sizeof(float));
    expand(tensor->type, tensor->bytes, floats);
    EXPECT_EQ(std::memcmp(floats.data(), expected.bytes.data(), expected.bytes.size()), 0);
    // The same at an odd address.
    std::vector<std::byte> moved(tensor->bytes.size() + 1);
    std::memcpy(moved.data() + 1, tensor->bytes.data(), tensor->bytes.size());
    std::ranges::fill(floats, 0.0F);
    expand(tensor->type, std::span(moved).subspan(1), floats);
    EXPECT_EQ(std::memcmp(floats.data(), expected.bytes.data(), expected.bytes.size()), 0);
    ++types;
  }
  EXPECT_EQ(types, 16U);
}

// Worked out by the formulas of quantized_blocks.hpp.
TEST(StorageTypes, NibblesOfABlockAreItsTwoHalves) {
  BlockQ4_0 block{.scale = to_half(0.5F), .quants = {}};
  block.quants[0] = 0x9F;  // q[0] = 15, q[16] = 9
  block.quants[15] = 0x08;
  const std::vector<float> x = expanded(StorageType::kQ4_0, block, 32);
  EXPECT_EQ(x[0], 0.5F * (15 - 8));
  EXPECT_EQ(x[16], 0.5F * (9 - 8));
  EXPECT_EQ(x[15], 0.0F);
  EXPECT_EQ(x[31], 0.5F * (0 - 8));
}

TEST(StorageTypes, TheLastScaleOfAKBlockIsSpreadOverThreeBytes) {
  BlockQ4_K block{.scale = to_half(1.0F), .minimum = to_half(2.0F), .scales = {}, .quants = {}};
  block.scales[3] = 0x80;    // bits 4, 5 of s[7]: 2
  block.scales[7] = 0x40;    // bits 4, 5 of m[7]: 1
  block.scales[11] = 0x5A;   // bits 0-3 of m[7] and s[7]: 5 and 10
  block.quants[127] = 0x30;  // q[255] = 3
  const std::vector<float> x = expanded(StorageType::kQ4_K, block, 256);
  EXPECT_EQ(x[255], 42.0F * 3 - 2.0F * 21);
  EXPECT_EQ(x[254], -2.0F * 21);
  EXPECT_EQ(x[0], 0.0F);
}

TEST(StorageTypes, AnExponentOfMxfp4IsAPowerOfTwo) {
  BlockMxfp4 block{.exponent = 128, .quants = {}};
  block.quants[0] = 0xF7;  // 6 and -6
  const std::vector<float> x = expanded(StorageType::kMxfp4, block, 32);
  EXPECT_EQ(x[0], 2.0F * 6.0F);
  EXPECT_EQ(x[16], 2.0F * -6.0F);
  block.exponent = 0;
  EXPECT_EQ(expanded(StorageType::kMxfp4, block, 32)[0], 0x1p-127F * 6.0F);
}

TEST(StorageTypes, TypesAreFoundByNameAndByNumber) {
  EXPECT_EQ(find_storage_type("Q6_K"), StorageType::kQ6_K);
  EXPECT_EQ(find_gguf_type(14), StorageType::kQ6_K);
  EXPECT_EQ(find_storage_type("I64"), std::nullopt);
  EXPECT_EQ(find_gguf_type(4), std::nullopt);
  EXPECT_EQ(stored_bytes(StorageType::kQ6_K, 512), 420U);
  EXPECT_EQ(stored_bytes(StorageType::kBFloat16, 3), 6U);
}

}  // namespace
}  // namespace evictlab::core
