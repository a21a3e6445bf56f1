#include "core/select.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <utility>

namespace evictlab::core {
namespace {

// A float's bits, changed so that unsigned order is descending numeric order.
std::uint32_t descending_key(float score) {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0F);  // -0.0 + 0.0 = +0.0
  return (bits & 0x80000000U) != 0 ? bits : ~(bits | 0x80000000U);
}

constexpr std::size_t kRadix = 2048;  // digits of 11, 11 and 10 bits
using Histogram = std::array<std::uint32_t, kRadix>;
constexpr std::array<unsigned, 3> kShift = {0, 11, 22};

std::uint32_t digit(std::uint32_t key, std::size_t pass) { return (key >> kShift[pass]) & (kRadix - 1); }

// A key and its index in one word: comparing words compares keys, then indices.
using Item = std::uint64_t;
std::uint32_t key_of(Item item) { return static_cast<std::uint32_t>(item >> 32U); }
std::uint32_t index_of(Item item) { return static_cast<std::uint32_t>(item); }

// Below this, clearing the histograms costs more than comparing.
constexpr std::size_t kSmall = 512;

void radix_sort(std::vector<Item>& items) {
  std::array<Histogram, 3> counts{};
  for (const Item item : items) {
    for (std::size_t pass = 0; pass < 3; ++pass) ++counts[pass][digit(key_of(item), pass)];
  }
  std::vector<Item> sorted(items.size());
  for (std::size_t pass = 0; pass < 3; ++pass) {
    Histogram& next = counts[pass];
    if (next[digit(key_of(items.front()), pass)] == items.size()) continue;  // the same digit everywhere
    std::uint32_t offset = 0;
    for (std::uint32_t& count : next) offset += std::exchange(count, offset);
    for (const Item item : items) sorted[next[digit(key_of(item), pass)]++] = item;
    items.swap(sorted);
  }
}

// The key such that fewer than `count` keys are below it and at least `count` are not above it, and
// how many keys equal to it belong to the first `count`. 0 < count <= keys.size().
struct Threshold {
  std::uint32_t key = 0;
  std::size_t ties = 0;
};
Threshold find_threshold(std::span<const std::uint32_t> keys, std::size_t count) {
  std::vector<std::uint32_t> candidates(keys.size());  // keys that share the digits found so far
  std::uint32_t key = 0;
  for (std::size_t pass = 3; pass-- > 0;) {
    // Two histograms in turn: scores of like size fall into one bucket, and adding to a number that
    // was written just before waits for it.
    std::array<Histogram, 2> counts{};
    for (std::size_t i = 0; i < keys.size(); ++i) ++counts[i % 2][digit(keys[i], pass)];
    std::uint32_t bucket = 0;
    while (counts[0][bucket] + counts[1][bucket] < count) {
      count -= counts[0][bucket] + counts[1][bucket];
      ++bucket;
    }
    key |= bucket << kShift[pass];
    std::size_t kept = 0;
    for (const std::uint32_t candidate : keys) {  // without a branch, which would be mispredicted
      candidates[kept] = candidate;
      kept += digit(candidate, pass) == bucket ? 1 : 0;
    }
    keys = std::span(candidates).first(kept);
  }
  return {key, count};
}

}  // namespace

std::vector<std::uint32_t> argsort_descending(std::span<const float> scores) {
  std::vector<Item> items(scores.size());
  for (std::size_t i = 0; i < items.size(); ++i) items[i] = Item{descending_key(scores[i])} << 32U | i;
  if (items.size() < kSmall) {
    std::sort(items.begin(), items.end());
  } else {
    radix_sort(items);
  }
  std::vector<std::uint32_t> order(items.size());
  std::transform(items.begin(), items.end(), order.begin(), index_of);
  return order;
}

std::vector<std::uint32_t> top_ranked(std::span<const float> scores, std::size_t count) {
  if (count >= scores.size()) return argsort_descending(scores);
  std::vector<std::uint32_t> top = top_positions(scores, count);
  std::vector<float> values(top.size());
  for (std::size_t i = 0; i < top.size(); ++i) values[i] = scores[top[i]];
  // `top` is ascending, so that of equal scores the lower index still comes first.
  std::vector<std::uint32_t> order = argsort_descending(values);
  for (std::uint32_t& position : order) position = top[position];
  return order;
}

std::vector<std::uint32_t> top_positions(std::span<const float> scores, std::size_t count) {
  count = std::min(count, scores.size());
  if (count == 0) return {};
  std::vector<std::uint32_t> keys(scores.size());
  std::transform(scores.begin(), scores.end(), keys.begin(), descending_key);
  Threshold threshold = find_threshold(keys, count);
  std::vector<std::uint32_t> positions(count + 1);  // one more for what is written and then not kept
  std::size_t kept = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::size_t tie = keys[i] == threshold.key && threshold.ties > 0 ? 1 : 0;
    threshold.ties -= tie;
    positions[kept] = static_cast<std::uint32_t>(i);
    kept += tie + (keys[i] < threshold.key ? 1 : 0);
  }
  positions.pop_back();
  return positions;
}

}  // namespace evictlab::core
