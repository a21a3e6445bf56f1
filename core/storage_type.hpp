#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

// How the numbers of a tensor are stored: one by one (F32, F16, BF16), or in blocks of 32 or 256 small integers that
// share scales. The blocks are those of the ggml library, which GGUF files hold; core/quantized_blocks.hpp has their
// layouts and formulas.

namespace evictlab::core {

enum class StorageType {
  kFloat32,
  kFloat16,
  kBFloat16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
  kMxfp4,
};
inline constexpr std::size_t kStorageTypes = 16;

struct StorageLayout {
  std::string_view name;       // "F32", "Q4_K"
  std::uint32_t gguf_type;     // its number in GGUF files
  std::size_t block_elements;  // a row of a matrix is a whole number of blocks
  std::size_t block_bytes;
};

const StorageLayout& storage_layout(StorageType type);

/// The type of that name, or that number in GGUF files; nothing for one that cannot be expanded.
std::optional<StorageType> find_storage_type(std::string_view name);
std::optional<StorageType> find_gguf_type(std::uint32_t number);

/// "F32, F16, BF16, ...": all of them.
std::string known_storage_types();

/// The bytes of `elements` numbers, a multiple of the block's.
std::size_t stored_bytes(StorageType type, std::size_t elements);

/// Expands stored numbers to floats: out.size() of them, a multiple of the block's, from stored_bytes() bytes at any
/// alignment. The operations and their order are those of ggml's reference, so the floats are the same to the last bit.
void expand(StorageType type, std::span<const std::byte> stored, std::span<float> out);

/// out[r] = sum over i of W[r, i] x[i] for rows of W that begin at rows[r], stored_bytes(type, x.size()) bytes each at
/// any alignment. Products are added in float in 32 lanes, and the upper half of the lanes to the lower one until one
/// is left: the same bits on every machine. Of numbers stored one by one, lane i % 32 adds up W[r, i] x[i]. Of blocks,
/// whose numbers are scale q + minimum, lane i % 16 adds up scale (q x), and lane 16 + i % 16 adds up minimum x.
void multiply_rows(StorageType type, std::span<const std::byte* const> rows, std::span<const float> x,
                   std::span<float> out);

}  // namespace evictlab::core
