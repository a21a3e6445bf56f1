#pragma once

#include <cstdint>
#include <vector>

// Stretches of an answer, over which curves are means: 1, 2, 3-4, 5-8, 9-16, ... Step t is the t-th answer token that
// the model reads after the prompt, the future query t - 1.

namespace evictlab::results {

struct Stretch {
  std::int64_t first = 1;
  std::int64_t last = 1;
};

/// Those that `steps` steps reach; the last may go beyond them.
inline std::vector<Stretch> stretches_of(std::int64_t steps) {
  std::vector<Stretch> all;
  for (std::int64_t first = 1, last = 1; first <= steps; first = last + 1, last *= 2) {
    all.push_back({first, last});
  }
  return all;
}

}  // namespace evictlab::results
