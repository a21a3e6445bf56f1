#include "sim/policy/retention.hpp"

#include <algorithm>

namespace evictlab::sim {

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
