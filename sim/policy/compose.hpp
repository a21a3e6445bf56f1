#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/policy/parameters.hpp"
#include "sim/policy/policy.hpp"

// compose(scorer=...,allocator=...,selector=...): any scorer with any allocator and selector that its data allow, so
// that it can be told which part of a method earns its gain. The parts' parameters are compose's own.

namespace evictlab::sim {

/// One part that compose offers.
template <typename Part>
struct PartInfo {
  std::string name;         // "pyramid"
  std::string description;  // one line
  std::function<void(ParameterList&)> declare;
  std::function<std::shared_ptr<const Part>(const Parameters&)> make;
};

std::span<const PartInfo<Scorer>> scorers();
std::span<const PartInfo<Allocator>> allocators();
std::span<const PartInfo<Selector>> selectors();

/// compose(...) with every scorer, allocator and selector there is, but for what has to be given in a file; some of
/// them are impossible.
std::vector<std::string> compose_matrix();

/// What compose takes with the parts that are asked for, or with its defaults: their parameters, each once.
ParameterList compose_parameters(const KeyValues& given);
/// The composed policy. Throws ImpossiblePolicy where the parts do not go together.
Policy composed_policy(const Parameters& given);

}  // namespace evictlab::sim
