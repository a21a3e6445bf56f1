#include "core/storage_type.hpp"

#include <algorithm>
#include <iterator>

#include "core/cpu.hpp"
#include "core/half.hpp"
#include "core/quantized_blocks.hpp"
#include "core/weight_kernels.hpp"

namespace evictlab::core {
namespace {

struct Storage {
  StorageType type;
  StorageLayout layout;
};

template <typename Block, std::size_t elements>
constexpr Storage quantized(StorageType type, std::string_view name, std::uint32_t number) {
  return {type, {name, number, elements, sizeof(Block)}};
}

// In the order of the enumeration.
constexpr Storage kStorage[] = {
    {StorageType::kFloat32, {"F32", 0, 1, sizeof(float)}},
    {StorageType::kFloat16, {"F16", 1, 1, sizeof(Half)}},
    {StorageType::kBFloat16, {"BF16", 30, 1, sizeof(BFloat16)}},
    quantized<BlockQ4_0, 32>(StorageType::kQ4_0, "Q4_0", 2),
    quantized<BlockQ4_1, 32>(StorageType::kQ4_1, "Q4_1", 3),
    quantized<BlockQ5_0, 32>(StorageType::kQ5_0, "Q5_0", 6),
    quantized<BlockQ5_1, 32>(StorageType::kQ5_1, "Q5_1", 7),
    quantized<BlockQ8_0, 32>(StorageType::kQ8_0, "Q8_0", 8),
    quantized<BlockQ2_K, 256>(StorageType::kQ2_K, "Q2_K", 10),
    quantized<BlockQ3_K, 256>(StorageType::kQ3_K, "Q3_K", 11),
    quantized<BlockQ4_K, 256>(StorageType::kQ4_K, "Q4_K", 12),
    quantized<BlockQ5_K, 256>(StorageType::kQ5_K, "Q5_K", 13),
    quantized<BlockQ6_K, 256>(StorageType::kQ6_K, "Q6_K", 14),
    quantized<BlockIQ4_NL, 32>(StorageType::kIQ4_NL, "IQ4_NL", 20),
    quantized<BlockIQ4_XS, 256>(StorageType::kIQ4_XS, "IQ4_XS", 23),
    quantized<BlockMxfp4, 32>(StorageType::kMxfp4, "MXFP4", 39),
};
static_assert(std::size(kStorage) == kStorageTypes);

const WeightKernels& fastest_weights() {
  static const WeightKernels& chosen = fastest_supported(weight_kernels());
  return chosen;
}

const Storage& storage(StorageType type) { return kStorage[static_cast<std::size_t>(type)]; }

template <typename Matches>
std::optional<StorageType> find(Matches matches) {
  const auto* const found = std::ranges::find_if(kStorage, [&](const Storage& one) { return matches(one.layout); });
  if (found == std::end(kStorage)) return std::nullopt;
  return found->type;
}

}  // namespace

const StorageLayout& storage_layout(StorageType type) { return storage(type).layout; }

std::optional<StorageType> find_storage_type(std::string_view name) {
  return find([&](const StorageLayout& layout) { return layout.name == name; });
}

std::optional<StorageType> find_gguf_type(std::uint32_t number) {
  return find([&](const StorageLayout& layout) { return layout.gguf_type == number; });
}

std::string known_storage_types() {
  std::string names;
  for (const Storage& one : kStorage) {
    if (!names.empty()) names += ", ";
    names += one.layout.name;
  }
  return names;
}

std::size_t stored_bytes(StorageType type, std::size_t elements) {
  const StorageLayout& layout = storage_layout(type);
  return elements / layout.block_elements * layout.block_bytes;
}

void expand(StorageType type, std::span<const std::byte> stored, std::span<float> out) {
  fastest_weights().of(type).expand(stored.data(), out.size(), out.data());
}

void multiply_rows(StorageType type, std::span<const std::byte* const> rows, std::span<const float> x,
                   std::span<float> out) {
  fastest_weights().of(type).multiply(rows, x, out.data());
}

}  // namespace evictlab::core
