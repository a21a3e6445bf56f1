#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "results/table.hpp"
#include "sim/replay/replay.hpp"

namespace evictlab::sim {

/// How much of what two policies keep at one budget is the same: collects retentions as a replay makes them, and
/// compares those of a prompt with one another.
class KeptOverlap {
 public:
  /// Compares at one budget, the middle one of the list, what `query_heads` heads see. `fixed_too`: also policies that
  /// hold the same whatever the budget, as kept sets from a file do.
  KeptOverlap(std::span<const Budget> budgets, Index query_heads, bool fixed_too = false);

  /// For ReplayOptions::retention: records of a prompt must come one after the other. Those of other budgets are
  /// ignored, and policies that hold the same whatever the budget unless the constructor includes them.
  void add(const RetentionRecord& record);

  /// The table kept_overlap: one row per prompt and pair of policies. overlap: Jaccard index of the positions that a
  /// query head sees, mean over query heads and layers.
  results::Table finish();

 private:
  /// One policy's kept positions: a bit a position, per layer and kept set.
  struct Kept {
    std::string policy;
    std::string parameters;
    std::vector<std::vector<std::vector<std::uint64_t>>> layers;  // [layers][sets]
  };
  void compare();

  std::string budget_;
  std::size_t query_heads_;
  bool fixed_too_;
  std::string prompt_;
  std::string task_;
  std::vector<Kept> kept_;
  results::Table table_;
};

}  // namespace evictlab::sim
