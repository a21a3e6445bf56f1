#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trace/tensor.hpp"

namespace evictlab::runtime {

using trace::Index;
using trace::RowMatrix;
using trace::RowMatrixView;

/// Keys (position encoding applied) and values of a running sequence. Every head of every layer has its own
/// slots, number of them, and original positions, in storage order.
class KvCache {
 public:
  /// Room for `capacity` slots per layer and head. Memory is touched only as slots are filled.
  KvCache(Index layers, Index kv_heads, Index head_dim, Index capacity);

  Index layers() const { return layers_; }
  Index kv_heads() const { return kv_heads_; }
  Index head_dim() const { return head_dim_; }
  Index capacity() const { return capacity_; }

  /// How many tokens have been read: the position the next one gets.
  Index next_position() const { return next_position_; }
  /// Slots held by one head.
  Index length(Index layer, Index head) const { return static_cast<Index>(positions(layer, head).size()); }
  /// [length] original positions.
  std::span<const std::int32_t> positions(Index layer, Index head) const { return positions_[slot(layer, head)]; }
  /// [length, d]
  RowMatrixView keys(Index layer, Index head) const;
  RowMatrixView values(Index layer, Index head) const;
  /// All heads of a layer, [G, length, d]. Their lengths must be equal.
  trace::TensorView layer_keys(Index layer) const;
  trace::TensorView layer_values(Index layer) const;

  /// `count` new slots of one head for positions next_position() ...: the caller fills both with [count, d].
  /// Throws std::length_error beyond the capacity.
  struct NewSlots {
    Eigen::Map<RowMatrix> keys;
    Eigen::Map<RowMatrix> values;
  };
  NewSlots append(Index layer, Index head, Index count);
  /// Every head has been given `count` slots.
  void advance(Index count) { next_position_ += count; }
  /// Forgets what was last read, from `position` on, in every layer and head: the next token gets that position.
  void truncate(Index position);

 private:
  std::size_t slot(Index layer, Index head) const { return static_cast<std::size_t>(layer * kv_heads_ + head); }
  Index equal_length(Index layer) const;

  Index layers_;
  Index kv_heads_;
  Index head_dim_;
  Index capacity_;
  Index next_position_ = 0;
  std::vector<RowMatrix> keys_;                       // [L] of [G * capacity, d]
  std::vector<RowMatrix> values_;                     // [L] of [G * capacity, d]
  std::vector<std::vector<std::int32_t>> positions_;  // [L * G] of [length]
};

}  // namespace evictlab::runtime
