#pragma once

#include <functional>
#include <memory>

#include "sim/policy/allocator.hpp"

// Shares of the budget by layer, for the allocators that divide it so.

namespace evictlab::sim {

/// Gives the budget of each kept set of a layer, before heads compete for the layer's slots: positions, protected ones
/// included. May exceed the positions there are.
using LayerShare = std::function<Index(const AllocationRequest&, const LayerSummary&)>;
/// Gives all kept sets of a layer its share, and never revises it.
std::unique_ptr<Allocator> layered_allocator(LayerShare share, AllocatorTraits traits);
/// The same in every layer.
LayerShare uniform_share();
/// Whose arithmetic a pyramid follows (allocators/layer_share.cpp has all three).
enum class PyramidRule { kAdaKv, kKvCacheFactory, kKvPress };
/// Falling linearly over the layers, steeper with a larger beta >= 1.
LayerShare pyramid_share(PyramidRule rule, Index beta);
/// "beta": how steeply a pyramid falls.
Parameter beta_parameter();

/// "floor_alpha": what is not left to competition between heads.
Parameter floor_alpha_parameter();
/// rint( count (1 - floor_alpha) + floor_slots ), in float32 with halves to even: a head's share of what its layer
/// competes for, blended with an equal part.
Index blended_count(Index count, double floor_alpha, Index floor_slots);
/// "normalize" and "skip" of allocators by which heads compete.
Parameter normalize_parameter();
Parameter skip_parameter();
/// How many positions a kept set of this capacity is guaranteed before the heads of its layer compete, as kvpress
/// counts them, for the allocator that guarantees them and the selectors that put them first: int(int(capacity) *
/// floor_alpha).
Index guaranteed_positions(double capacity, double floor_alpha);

/// `wanted` when that divides the layers into at least two groups, else the largest divisor up to a quarter of them.
Index layers_in_group(Index layers, Index wanted);
/// "shared_layers": successive layers of a group, for the allocator that budgets by groups and the selector that shares
/// in them.
Parameter shared_layers_parameter(std::int64_t layers);

/// a // b as the authors' Python computes it, b > 0. Whole numbers: rounded towards minus infinity.
Index floor_division(Index a, Index b);
/// Numbers: not always floor(a / b), since the remainder is taken exactly first.
double floor_division(double a, double b);

}  // namespace evictlab::sim
