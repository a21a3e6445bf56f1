#include "results/evicts.hpp"

#include <algorithm>

namespace evictlab::results {

Evicts evicts(std::string_view parameters) {
  Evicts found = Evicts::kAtPrompt;
  while (!parameters.empty()) {
    const std::size_t end = std::min(parameters.find(','), parameters.size());
    const std::string_view one = parameters.substr(0, end);
    if (one.starts_with("evict_layer=") || one.starts_with("evict_head=")) return Evicts::kInOnePlace;
    if (one == "decode=yes") found = Evicts::kWhileDecoding;
    parameters.remove_prefix(std::min(end + 1, parameters.size()));
  }
  return found;
}

std::string_view evicts_name(Evicts evicts) {
  switch (evicts) {
    case Evicts::kWhileDecoding:
      return "decode";
    case Evicts::kInOnePlace:
      return "place";
    case Evicts::kAtPrompt:
      break;
  }
  return "prompt";
}

}  // namespace evictlab::results
