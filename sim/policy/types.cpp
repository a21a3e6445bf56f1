#include "sim/policy/types.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace evictlab::sim {

std::string_view granularity_name(Granularity granularity) {
  switch (granularity) {
    case Granularity::kQueryHead:
      return "query";
    case Granularity::kKvHead:
      return "kv";
    case Granularity::kLayer:
      break;
  }
  return "layer";
}

std::string_view granularity_words(Granularity granularity) {
  switch (granularity) {
    case Granularity::kQueryHead:
      return "query head";
    case Granularity::kKvHead:
      return "kv head";
    case Granularity::kLayer:
      break;
  }
  return "layer";
}

Index set_count(Granularity granularity, const trace::LayerShape& shape) {
  switch (granularity) {
    case Granularity::kQueryHead:
      return shape.query_heads;
    case Granularity::kKvHead:
      return shape.kv_heads;
    case Granularity::kLayer:
      break;
  }
  return 1;
}

double real_set_capacity(Granularity granularity, const trace::LayerShape& shape, double slots) {
  if (granularity != Granularity::kQueryHead) return slots;
  return slots * static_cast<double>(shape.kv_heads) / static_cast<double>(shape.query_heads);
}

Index set_capacity(Granularity granularity, const trace::LayerShape& shape, double slots) {
  return static_cast<Index>(real_set_capacity(granularity, shape, slots));
}

Index set_of(Granularity granularity, const trace::LayerShape& shape, Index query_head) {
  switch (granularity) {
    case Granularity::kQueryHead:
      return query_head;
    case Granularity::kKvHead:
      return shape.kv_head_of(query_head);
    case Granularity::kLayer:
      break;
  }
  return 0;
}

double stored_slots(Granularity granularity, const trace::LayerShape& shape, Index positions) {
  // A set for the whole layer is stored once per kv head: G times, divided by G.
  if (granularity == Granularity::kLayer) return static_cast<double>(positions);
  return static_cast<double>(positions) / static_cast<double>(shape.kv_heads);
}

StoredSlots stored_forms(Granularity granularity, const trace::LayerShape& shape, std::span<const Index> set_counts) {
  Index exact = 0;
  Index longest = 0;
  Index paged = 0;
  for (const Index count : set_counts) {
    exact += count;
    longest = std::max(longest, count);
    paged += (count + kPageSlots - 1) / kPageSlots * kPageSlots;
  }
  const auto slots = [&](Index positions) { return stored_slots(granularity, shape, positions); };
  return {slots(exact), slots(longest * std::ssize(set_counts)), slots(paged)};
}

std::string Protection::text() const { return fmt::format("sinks={},recent={}", sinks, recent); }

PositionRanges::PositionRanges(const trace::LayerShape& shape, const Protection& protection, Index block)
    : first_visible(shape.first_visible()), prompt_length(shape.prompt_length) {
  candidates_begin = std::clamp(protection.sinks, first_visible, prompt_length);
  candidates_end = prompt_length - std::min(protection.recent, prompt_length);
  if (candidates_begin > first_visible) candidates_begin = (candidates_begin + block - 1) / block * block;
  if (candidates_end < prompt_length) candidates_end -= candidates_end % block;
  candidates_begin = std::min(candidates_begin, prompt_length);
  candidates_end = std::max(candidates_begin, candidates_end);
}

std::span<const std::int32_t> LayerRetention::kept(Index set) const {
  const auto index = static_cast<std::size_t>(set);
  const auto begin = static_cast<std::size_t>(offsets[index]);
  return std::span(positions).subspan(begin, static_cast<std::size_t>(offsets[index + 1]) - begin);
}

std::vector<std::int32_t> LayerRetention::kept_ascending(Index set) const {
  const auto stored = kept(set);
  std::vector<std::int32_t> ascending(stored.begin(), stored.end());
  std::sort(ascending.begin(), ascending.end());
  ascending.erase(std::unique(ascending.begin(), ascending.end()), ascending.end());
  return ascending;
}

}  // namespace evictlab::sim
