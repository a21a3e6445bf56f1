#pragma once

#include <span>
#include <string>
#include <vector>

#include "sim/policy/part.hpp"

// compose(scorer=...,allocator=...,selector=...): any scorer with any allocator and selector that its data allow, so
// that it can be told which part of a method earns its gain. The parts' parameters are compose's own.

namespace evictlab::sim {

/// The parts that compose offers.
std::span<const PartInfo<Scorer>> scorers();
std::span<const PartInfo<Allocator>> allocators();
std::span<const PartInfo<Selector>> selectors();

/// compose(...) with every scorer, allocator and selector there is, but for imported ones; some combinations are
/// impossible.
std::vector<std::string> compose_matrix();

/// What compose takes with the parts that are asked for, or with its defaults: their parameters, each once.
ParameterList compose_parameters(const KeyValues& given);

}  // namespace evictlab::sim
