#include "core/storage_type.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "core/half.hpp"
#include "core/quantized_blocks.hpp"

namespace evictlab::core {
namespace {

/// `number` of 0..15 in nibble `place` of `byte`, bits `place`.. of it.
unsigned nibble(std::uint8_t byte, unsigned place) { return static_cast<unsigned>(byte) >> (4U * place) & 15U; }
unsigned bits(std::uint8_t byte, unsigned place, unsigned count) {
  return static_cast<unsigned>(byte) >> place & ((1U << count) - 1U);
}

/// Of the blocks of 32: value(q) for each nibble, in the order of elements; `element` counts them.
template <typename Value>
void for_nibbles(const Nibbles16& quants, float* out, Value value) {
  for (unsigned i = 0; i < 16; ++i) {
    out[i] = value(nibble(quants[i], 0), i);
    out[i + 16] = value(nibble(quants[i], 1), i + 16);
  }
}

void expand_block(const BlockQ4_0& block, float* out) {
  const float scale = to_float(block.scale);
  for_nibbles(block.quants, out,
              [&](unsigned q, unsigned) { return scale * static_cast<float>(static_cast<int>(q) - 8); });
}

void expand_block(const BlockQ4_1& block, float* out) {
  const float scale = to_float(block.scale);
  const float minimum = to_float(block.minimum);
  for_nibbles(block.quants, out, [&](unsigned q, unsigned) { return scale * static_cast<float>(q) + minimum; });
}

/// Bit 4 of every element, as 32 bits.
std::uint32_t fifth_bits(const std::array<std::uint8_t, 4>& high) { return std::bit_cast<std::uint32_t>(high); }

unsigned with_fifth(unsigned q, std::uint32_t high, unsigned element) { return q | (high >> element & 1U) << 4U; }

void expand_block(const BlockQ5_0& block, float* out) {
  const float scale = to_float(block.scale);
  const std::uint32_t high = fifth_bits(block.high);
  for_nibbles(block.quants, out, [&](unsigned q, unsigned element) {
    return scale * static_cast<float>(static_cast<int>(with_fifth(q, high, element)) - 16);
  });
}

void expand_block(const BlockQ5_1& block, float* out) {
  const float scale = to_float(block.scale);
  const float minimum = to_float(block.minimum);
  const std::uint32_t high = fifth_bits(block.high);
  for_nibbles(block.quants, out, [&](unsigned q, unsigned element) {
    return scale * static_cast<float>(with_fifth(q, high, element)) + minimum;
  });
}

void expand_block(const BlockQ8_0& block, float* out) {
  const float scale = to_float(block.scale);
  for (unsigned e = 0; e < 32; ++e) out[e] = static_cast<float>(block.quants[e]) * scale;
}

// The sub-blocks of 16 begin where their bits do: bytes `base` on, from bit `shift`. Loops over them have no other
// arithmetic on places, so that compilers vectorise them.
struct Place {
  unsigned base;
  unsigned shift;
};

/// Of two bits a byte, 4 times 32 elements to 32 bytes.
Place place_of_two_bits(unsigned part) { return {part / 8 * 32 + part % 2 * 16, part % 8 / 2 * 2}; }

void expand_block(const BlockQ2_K& block, float* out) {
  const float scale = to_float(block.scale);
  const float minimum = to_float(block.minimum);
  for (unsigned part = 0; part < 16; ++part) {
    const float part_scale = scale * static_cast<float>(nibble(block.scales[part], 0));
    const float part_minimum = minimum * static_cast<float>(nibble(block.scales[part], 1));
    const auto [base, shift] = place_of_two_bits(part);
    for (unsigned i = 0; i < 16; ++i) {
      out[part * 16 + i] = part_scale * static_cast<float>(bits(block.quants[base + i], shift, 2)) - part_minimum;
    }
  }
}

void expand_block(const BlockQ3_K& block, float* out) {
  const float scale = to_float(block.scale);
  for (unsigned part = 0; part < 16; ++part) {
    const unsigned packed = nibble(block.scales[part % 8], part / 8) | bits(block.scales[8 + part % 4], part / 4 * 2, 2)
                                                                           << 4U;
    const float part_scale = scale * static_cast<float>(static_cast<int>(packed) - 32);
    const auto [base, shift] = place_of_two_bits(part);
    for (unsigned i = 0; i < 16; ++i) {
      const unsigned high = bits(block.high[part % 2 * 16 + i], part / 2, 1);
      out[part * 16 + i] =
          part_scale * static_cast<float>(static_cast<int>(bits(block.quants[base + i], shift, 2) | high << 2U) - 4);
    }
  }
}

/// Scale and minimum of sub-block i of Q4_K and Q5_K.
struct PartScale {
  float scale;
  float minimum;
};

template <typename Block>
PartScale part_scale(const Block& block, unsigned i) {
  const auto& packed = block.scales;
  const unsigned s = i < 4 ? bits(packed[i], 0, 6) : nibble(packed[i + 4], 0) | bits(packed[i - 4], 6, 2) << 4U;
  const unsigned m = i < 4 ? bits(packed[i + 4], 0, 6) : nibble(packed[i + 4], 1) | bits(packed[i], 6, 2) << 4U;
  return {to_float(block.scale) * static_cast<float>(s), to_float(block.minimum) * static_cast<float>(m)};
}

void expand_block(const BlockQ4_K& block, float* out) {
  for (unsigned part = 0; part < 8; ++part) {
    const PartScale of = part_scale(block, part);
    for (unsigned i = 0; i < 32; ++i) {
      const unsigned q = nibble(block.quants[part / 2 * 32 + i], part % 2);
      out[part * 32 + i] = of.scale * static_cast<float>(q) - of.minimum;
    }
  }
}

void expand_block(const BlockQ5_K& block, float* out) {
  for (unsigned part = 0; part < 8; ++part) {
    const PartScale of = part_scale(block, part);
    for (unsigned i = 0; i < 32; ++i) {
      const unsigned q = nibble(block.quants[part / 2 * 32 + i], part % 2) | bits(block.high[i], part, 1) << 4U;
      out[part * 32 + i] = of.scale * static_cast<float>(q) - of.minimum;
    }
  }
}

void expand_block(const BlockQ6_K& block, float* out) {
  const float scale = to_float(block.scale);
  for (unsigned part = 0; part < 16; ++part) {
    const float part_scale = scale * static_cast<float>(block.scales[part]);
    const unsigned low_base = part / 8 * 64 + part % 4 * 16;
    const unsigned low_place = part % 8 / 4;
    const auto [base, shift] = place_of_two_bits(part);
    for (unsigned i = 0; i < 16; ++i) {
      const unsigned q = nibble(block.low[low_base + i], low_place) | bits(block.high[base + i], shift, 2) << 4U;
      out[part * 16 + i] = part_scale * static_cast<float>(static_cast<int>(q) - 32);
    }
  }
}

void expand_block(const BlockIQ4_NL& block, float* out) {
  const float scale = to_float(block.scale);
  for_nibbles(block.quants, out, [&](unsigned q, unsigned) { return scale * static_cast<float>(kIq4Values[q]); });
}

void expand_block(const BlockIQ4_XS& block, float* out) {
  const float scale = to_float(block.scale);
  for (unsigned part = 0; part < 8; ++part) {
    const unsigned high = static_cast<unsigned>(block.scales_high) >> (2 * part) & 3U;
    const unsigned packed = nibble(block.scales_low[part / 2], part % 2) | high << 4U;
    const float part_scale = scale * static_cast<float>(static_cast<int>(packed) - 32);
    for (unsigned i = 0; i < 16; ++i) {
      const std::uint8_t quants = block.quants[part * 16 + i];
      out[part * 32 + i] = part_scale * static_cast<float>(kIq4Values[nibble(quants, 0)]);
      out[part * 32 + 16 + i] = part_scale * static_cast<float>(kIq4Values[nibble(quants, 1)]);
    }
  }
}

void expand_block(const BlockMxfp4& block, float* out) {
  // 2^(exponent - 128): the two smallest exponents give subnormal floats.
  const std::uint32_t exponent = block.exponent;
  const float scale = std::bit_cast<float>(exponent < 2 ? 0x00200000U << exponent : (exponent - 1) << 23U);
  for_nibbles(block.quants, out, [&](unsigned q, unsigned) { return scale * static_cast<float>(kE2m1Doubled[q]); });
}

template <typename Block, std::size_t elements>
void expand_blocks(std::span<const std::byte> stored, std::span<float> out) {
  for (std::size_t i = 0; i * elements < out.size(); ++i) {
    Block block;
    std::memcpy(&block, stored.data() + i * sizeof(Block), sizeof(Block));
    expand_block(block, out.data() + i * elements);
  }
}

void copy_floats(std::span<const std::byte> stored, std::span<float> out) {
  std::memcpy(out.data(), stored.data(), out.size_bytes());
}

template <typename Stored>
void convert(std::span<const std::byte> stored, std::span<float> out) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(stored.data()) % alignof(Stored) == 0;
  if (aligned) {
    to_float(std::span(reinterpret_cast<const Stored*>(stored.data()), out.size()), out);
    return;
  }
  std::vector<Stored> copy(out.size());
  std::memcpy(copy.data(), stored.data(), copy.size() * sizeof(Stored));
  to_float(std::span<const Stored>(copy), out);
}

struct Storage {
  StorageType type;
  StorageLayout layout;
  void (*expand)(std::span<const std::byte> stored, std::span<float> out);
};

template <typename Block, std::size_t elements>
constexpr Storage quantized(StorageType type, std::string_view name, std::uint32_t number) {
  return {type, {name, number, elements, sizeof(Block)}, expand_blocks<Block, elements>};
}

// In the order of the enumeration.
constexpr Storage kStorage[] = {
    {StorageType::kFloat32, {"F32", 0, 1, sizeof(float)}, copy_floats},
    {StorageType::kFloat16, {"F16", 1, 1, sizeof(Half)}, convert<Half>},
    {StorageType::kBFloat16, {"BF16", 30, 1, sizeof(BFloat16)}, convert<BFloat16>},
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
  storage(type).expand(stored, out);
}

}  // namespace evictlab::core
