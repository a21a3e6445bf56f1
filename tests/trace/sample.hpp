#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "trace/model.hpp"

namespace evictlab::trace {

/// Traces of random numbers whose sums are right, small and with no two sizes alike: L=3, H=6, G=2, d=5,
/// hidden 7; layer 1 has a sliding window of 12. Attention is computed row by row in double, the plain way.
struct Sample {
  Tier tier = Tier::kFull;
  ElementType element_type = ElementType::kFloat32;  // of queries, keys and values
  float scale = 32768.0F;                            // of window attention
  Index prompt_length = 37;
  Index future_length = 4;
  Index window = 9;
  Index gradient_draws = 2;  // in the full tier
  std::vector<Index> layers = {0, 1, 2};
  std::vector<Span> spans = {{"context", 0, 30}, {"needle", 11, 14}, {"answer", 37, 41}};
  Fields extra = {};
};

/// What a prompt of such a trace has in the full tier.
inline constexpr Fields kSampleFields = kFullFields | Field::kOutputGradients;
/// Datasets of a layer of it.
inline constexpr auto kSampleFieldCount = static_cast<std::size_t>(
    std::ranges::count_if(kFieldTable, [](const FieldInfo& info) { return kSampleFields.contains(info.field); }));

ModelInfo sample_model();
MemoryTrace::Prompt sample_prompt(const std::string& id, std::uint32_t seed, const Sample& sample = {});
RowMatrix sample_output_weight(Index layer);

/// Whether two layers hold the same, field by field, bit by bit.
void expect_equal(const LayerData& actual, const LayerData& expected);

/// Puts other elements into a field of a written trace, under a right hash: what software that computes wrongly writes.
void rewrite_field(const std::filesystem::path& trace, const std::string& id, Index layer, Field field,
                   const Tensor& elements);

/// Flips a bit where these bytes lie in a file, of the first of them.
void flip_bit(const std::filesystem::path& path, std::string_view bytes);

}  // namespace evictlab::trace
