#include "core/select.hpp"

#include <xmmintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

namespace evictlab::core {
namespace {

// A float's bits, changed so that unsigned order is descending numeric order.
std::uint32_t descending_key(float score) {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0F);  // -0.0 + 0.0 = +0.0
  return (bits & 0x80000000U) != 0 ? bits : ~(bits | 0x80000000U);
}

float from_descending_key(std::uint32_t key) {
  return std::bit_cast<float>((key & 0x80000000U) != 0 ? key : ~key & 0x7FFFFFFFU);
}

constexpr std::size_t kRadix = 2048;  // digits of 11, 11 and 10 bits
using Histogram = std::array<std::uint32_t, kRadix>;
constexpr std::array<unsigned, 3> kShift = {0, 11, 22};

std::uint32_t digit(std::uint32_t key, std::size_t pass) { return (key >> kShift[pass]) & (kRadix - 1); }

// A key and its index in one word: comparing words compares keys, then indices.
using Item = std::uint64_t;
Item item_of(std::span<const float> scores, std::size_t index) {
  return Item{descending_key(scores[index])} << 32U | index;
}
std::uint32_t key_of(Item item) { return static_cast<std::uint32_t>(item >> 32U); }
std::uint32_t index_of(Item item) { return static_cast<std::uint32_t>(item); }

// Below this, clearing the histograms costs more than comparing.
constexpr std::size_t kSmall = 512;

void sort_by_comparing(std::span<const float> scores, std::span<std::uint32_t> order) {
  std::array<Item, kSmall> items;
  for (std::size_t i = 0; i < scores.size(); ++i) items[i] = item_of(scores, i);
  std::sort(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(scores.size()));
  std::transform(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(scores.size()), order.begin(), index_of);
}

// A pass for each digit that differs, the lowest first. All memory is taken at once: the allocator would give two
// halves back to the system each time, and getting them anew costs more than sorting.
void radix_sort(std::span<const float> scores, std::span<std::uint32_t> order) {
  const std::size_t size = scores.size();
  const auto memory = std::make_unique_for_overwrite<Item[]>(2 * size);
  std::span items(memory.get(), size);
  std::span sorted(memory.get() + size, size);
  for (std::size_t i = 0; i < size; ++i) items[i] = item_of(scores, i);
  std::array<Histogram, 3> counts{};
  for (const Item item : items) {
    for (std::size_t pass = 0; pass < 3; ++pass) ++counts[pass][digit(key_of(item), pass)];
  }
  for (std::size_t pass = 0; pass < 3; ++pass) {
    Histogram& next = counts[pass];
    if (next[digit(key_of(items.front()), pass)] == size) continue;  // the same digit everywhere
    std::uint32_t offset = 0;
    for (std::uint32_t& count : next) offset += std::exchange(count, offset);
    for (const Item item : items) sorted[next[digit(key_of(item), pass)]++] = item;
    std::swap(items, sorted);
  }
  std::ranges::transform(items, order.begin(), index_of);
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

// From here on, a sample says which scores can be left out unseen.
constexpr std::size_t kManyScores = 4096;
constexpr std::size_t kSampled = 512;

// A score that rather more than `count` scores are likely not below: of those sampled, the one at the rank expected for
// `count` and three standard deviations of it more. -infinity when that is all of them.
float likely_bound(std::span<const float> scores, std::size_t count) {
  const double expected =
      static_cast<double>(count) * static_cast<double>(kSampled) / static_cast<double>(scores.size());
  const auto rank = static_cast<std::size_t>(expected + 3.0 * std::sqrt(expected)) + 2;
  if (rank >= kSampled) return -std::numeric_limits<float>::infinity();
  std::array<float, kSampled> sample;
  for (std::size_t i = 0; i < kSampled; ++i) sample[i] = scores[i * scores.size() / kSampled];
  std::nth_element(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(rank), sample.end(), std::greater<>());
  return sample[rank];
}

// The positions of all scores that are not below `bound`, ascending: four compared at once, 64 to a word.
std::vector<std::uint32_t> positions_from(std::span<const float> scores, float bound) {
  std::vector<std::uint32_t> positions;
  positions.reserve(scores.size() / 8);
  const __m128 bounds = _mm_set1_ps(bound);
  std::size_t i = 0;
  for (; i + 64 <= scores.size(); i += 64) {
    std::uint64_t found = 0;
    for (std::size_t k = 0; k < 64; k += 4) {
      const int mask = _mm_movemask_ps(_mm_cmpge_ps(_mm_loadu_ps(scores.data() + i + k), bounds));
      found |= static_cast<std::uint64_t>(mask) << k;
    }
    for (; found != 0; found &= found - 1) {
      positions.push_back(static_cast<std::uint32_t>(i + static_cast<std::size_t>(std::countr_zero(found))));
    }
  }
  for (; i < scores.size(); ++i) {
    if (scores[i] >= bound) positions.push_back(static_cast<std::uint32_t>(i));
  }
  return positions;
}

// The `count` first in the order, as indices of `scores`, ascending. 0 < count <= scores.size().
std::vector<std::uint32_t> select(std::span<const float> scores, std::size_t count) {
  std::vector<std::uint32_t> keys(scores.size());
  std::transform(scores.begin(), scores.end(), keys.begin(), descending_key);
  Threshold threshold = find_threshold(keys, count);
  std::vector<std::uint32_t> selected(count + 1);  // one more for what is written and then not kept
  std::size_t kept = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::size_t tie = keys[i] == threshold.key && threshold.ties > 0 ? 1 : 0;
    threshold.ties -= tie;
    selected[kept] = static_cast<std::uint32_t>(i);
    kept += tie + (keys[i] < threshold.key ? 1 : 0);
  }
  selected.pop_back();
  return selected;
}

}  // namespace

std::vector<std::uint32_t> argsort_descending(std::span<const float> scores) {
  std::vector<std::uint32_t> order(scores.size());
  if (scores.size() < kSmall) {
    sort_by_comparing(scores, order);
  } else {
    radix_sort(scores, order);
  }
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
  if (scores.size() < kManyScores) return select(scores, count);
  const float bound = likely_bound(scores, count);
  if (std::isinf(bound)) return select(scores, count);
  const std::vector<std::uint32_t> candidates = positions_from(scores, bound);
  if (candidates.size() < count) return select(scores, count);
  std::vector<float> values(candidates.size());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = scores[candidates[i]];
  std::vector<std::uint32_t> selected = select(values, count);
  for (std::uint32_t& position : selected) position = candidates[position];
  return selected;
}

std::vector<std::ptrdiff_t> counts_of_largest(std::span<const std::span<const float>> lists, std::ptrdiff_t total) {
  const auto largest = [&](float cut, auto bound) {  // counts of numbers above the cut, or not below it
    std::vector<std::ptrdiff_t> counts;
    for (const auto list : lists)
      counts.push_back(bound(list.begin(), list.end(), cut, std::greater<>()) - list.begin());
    return counts;
  };
  const auto sum = [](const std::vector<std::ptrdiff_t>& counts) {
    return std::accumulate(counts.begin(), counts.end(), std::ptrdiff_t{0});
  };
  const auto above = [](auto begin, auto end, float cut, auto order) {
    return std::lower_bound(begin, end, cut, order);
  };
  const auto not_below = [](auto begin, auto end, float cut, auto order) {
    return std::upper_bound(begin, end, cut, order);
  };
  std::vector<std::ptrdiff_t> all;
  for (const auto list : lists) all.push_back(static_cast<std::ptrdiff_t>(list.size()));
  if (total >= sum(all)) return all;
  if (total <= 0) return std::vector<std::ptrdiff_t>(lists.size(), 0);
  // The largest cut that leaves at least `total` numbers not below it.
  std::uint32_t low = descending_key(std::numeric_limits<float>::infinity());
  std::uint32_t high = descending_key(-std::numeric_limits<float>::infinity());
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    if (sum(largest(from_descending_key(middle), not_below)) >= total) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  const float cut = from_descending_key(low);
  std::vector<std::ptrdiff_t> counts = largest(cut, above);
  const std::vector<std::ptrdiff_t> with_equal = largest(cut, not_below);
  std::ptrdiff_t left = total - sum(counts);
  for (std::size_t l = 0; l < counts.size(); ++l) {
    const std::ptrdiff_t equal = std::min(left, with_equal[l] - counts[l]);
    counts[l] += equal;
    left -= equal;
  }
  return counts;
}

}  // namespace evictlab::core
