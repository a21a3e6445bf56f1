#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace evictlab::core {

/// The order of everything that ranks positions: larger score first, of equal scores the lower index
/// first. -0.0 equals 0.0. Scores must not be NaN; +-infinity are allowed.

/// All indices of `scores` in that order (a stable radix sort, O(n)). At most 2^32-1 scores.
std::vector<std::uint32_t> argsort_descending(std::span<const float> scores);

/// The first min(count, scores.size()) indices of that order, in that order.
std::vector<std::uint32_t> top_ranked(std::span<const float> scores, std::size_t count);

/// The same indices as top_ranked, ascending: a radix select without a sort.
std::vector<std::uint32_t> top_positions(std::span<const float> scores, std::size_t count);

/// How many of the `total` largest numbers of all lists, each falling, are each list's; equal numbers: the earlier list
/// first. A few binary searches a list.
std::vector<std::ptrdiff_t> counts_of_largest(std::span<const std::span<const float>> lists, std::ptrdiff_t total);

}  // namespace evictlab::core
