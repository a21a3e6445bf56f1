#include "core/weight_kernels.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "core/gguf.hpp"
#include "core/half.hpp"

namespace evictlab::core {
namespace {

const std::filesystem::path kKernelFixtures = std::filesystem::path(EVICTLAB_TEST_DATA) / "gguf";

/// A tensor of blocks.gguf four times, its first element at an odd address.
struct StoredRow {
  explicit StoredRow(const GgufTensor& tensor) : type(tensor.type), moved(1) {
    for (int i = 0; i < 4; ++i) moved.insert(moved.end(), tensor.bytes.begin(), tensor.bytes.end());
    const StorageLayout& layout = storage_layout(type);
    elements = (moved.size() - 1) / layout.block_bytes * layout.block_elements;
  }
  const std::byte* bytes() const { return moved.data() + 1; }

  StorageType type;
  std::size_t elements = 0;
  std::vector<std::byte> moved;
};

std::vector<StoredRow> rows_of_every_type() {
  const GgufFile file(kKernelFixtures / "blocks.gguf");
  std::vector<StoredRow> rows;
  for (std::size_t i = 0; i < kStorageTypes; ++i) {
    const GgufTensor* tensor = file.find_tensor(storage_layout(static_cast<StorageType>(i)).name);
    if (tensor != nullptr) rows.emplace_back(*tensor);
  }
  return rows;
}

std::vector<float> random_floats(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> floats(count);
  for (float& value : floats) value = normal(random);
  return floats;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(WeightKernels, EveryImplementationExpandsEveryTypeToTheSameBits) {
  const std::vector<StoredRow> rows = rows_of_every_type();
  ASSERT_EQ(rows.size(), kStorageTypes);
  for (const StoredRow& row : rows) {
    std::vector<float> expected(row.elements);
    weight_kernels().back().of(row.type).expand(row.bytes(), row.elements, expected.data());
    for (const WeightKernels& kernels : weight_kernels()) {
      if (!kernels.supported) continue;
      SCOPED_TRACE(std::string(kernels.name) + " " + std::string(storage_layout(row.type).name));
      std::vector<float> floats(row.elements);
      kernels.of(row.type).expand(row.bytes(), row.elements, floats.data());
      EXPECT_TRUE(same_bits(floats, expected));
    }
  }
}

// Numbers that are stored one by one may end anywhere in a block of lanes.
TEST(WeightKernels, PlainNumbersOfAnyCountAreExpandedAndMultiplied) {
  for (const StorageType type : {StorageType::kFloat32, StorageType::kFloat16, StorageType::kBFloat16}) {
    const std::vector<float> x = random_floats(100, 3);
    // 1, 2, ... are exact in every type: the product with x is a sum of x_i (i % 100 + 1).
    std::vector<std::byte> stored(x.size() * storage_layout(type).block_bytes);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto value = static_cast<float>(i + 1);
      const auto bfloat = BFloat16{static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16U)};
      const Half half = to_half(value);
      const void* from = &value;
      if (type == StorageType::kFloat16) from = &half;
      if (type == StorageType::kBFloat16) from = &bfloat;
      std::memcpy(stored.data() + i * storage_layout(type).block_bytes, from, storage_layout(type).block_bytes);
    }
    for (const WeightKernels& kernels : weight_kernels()) {
      if (!kernels.supported) continue;
      for (const std::size_t count : {1, 15, 16, 31, 32, 33, 63, 100}) {
        SCOPED_TRACE(std::string(kernels.name) + " " + std::to_string(count));
        std::vector<float> floats(count + 1, -7.0F);
        kernels.of(type).expand(stored.data(), count, floats.data());
        double expected = 0;
        for (std::size_t i = 0; i < count; ++i) {
          ASSERT_EQ(floats[i], static_cast<float>(i + 1));
          expected += static_cast<double>(x[i]) * static_cast<double>(i + 1);
        }
        EXPECT_EQ(floats[count], -7.0F);  // nothing behind the last number
        const std::byte* const row = stored.data();
        float product = 0;
        kernels.of(type).multiply({&row, 1}, std::span(x).first(count), &product);
        EXPECT_NEAR(product, expected, 1e-4 * static_cast<double>(count));
      }
    }
  }
}

// The error of a float sum of n terms is at most n 2^-24 times the sum of their absolute values.
TEST(WeightKernels, ProductsAreThoseOfTheExpandedNumbersToRounding) {
  for (const StoredRow& row : rows_of_every_type()) {
    // Three rows, two that are multiplied together and one that is left: the second begins a block later.
    const StorageLayout& layout = storage_layout(row.type);
    const std::size_t size = row.elements / 4 * 3;
    std::vector<float> x = random_floats(size, 5);
    for (float& value : x) value /= 64;  // the largest numbers of MXFP4 are near the largest float
    std::vector<float> floats(row.elements);
    expand(row.type, {row.bytes(), row.moved.size() - 1}, floats);
    const std::vector<const std::byte*> starts = {row.bytes(), row.bytes() + layout.block_bytes, row.bytes()};
    std::vector<float> first_of_all;
    for (const WeightKernels& kernels : weight_kernels()) {
      if (!kernels.supported) continue;
      SCOPED_TRACE(std::string(kernels.name) + " " + std::string(storage_layout(row.type).name));
      std::vector<float> products(3);
      kernels.of(row.type).multiply(starts, x, products.data());
      for (std::size_t r = 0; r < 3; ++r) {
        double expected = 0;
        double magnitude = 0;
        for (std::size_t i = 0; i < size; ++i) {
          const double term =
              static_cast<double>(x[i]) * static_cast<double>(floats[r % 2 * layout.block_elements + i]);
          expected += term;
          magnitude += std::abs(term);
        }
        EXPECT_NEAR(products[r], expected, magnitude * static_cast<double>(size) * 0x1p-24);
      }
      EXPECT_EQ(products[0], products[2]);
      if (first_of_all.empty()) first_of_all = products;
      EXPECT_TRUE(same_bits(products, first_of_all));
    }
  }
}

}  // namespace
}  // namespace evictlab::core
