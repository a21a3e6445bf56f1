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
/// slots, number of them, and original positions, in storage order. What is evicted is gone: keep() moves a head's
/// slots together where they are, shrink() gives a layer's freed memory back.
class KvCache {
 public:
  /// Room for `capacity` slots per head; a layer's memory is allocated when it is first written.
  KvCache(Index layers, Index kv_heads, Index head_dim, Index capacity);

  Index layers() const { return static_cast<Index>(layers_.size()); }
  Index kv_heads() const { return kv_heads_; }
  /// Heads of a layer that hold slots of their own: the kv heads, or, after split(), the query heads.
  Index heads(Index layer) const { return static_cast<Index>(at(layer).positions.size()); }
  Index head_dim() const { return head_dim_; }

  /// How many tokens have been read: the position the next one gets.
  Index next_position() const { return next_position_; }
  /// Slots held by one head.
  Index length(Index layer, Index head) const { return static_cast<Index>(positions(layer, head).size()); }
  /// [length] original positions.
  std::span<const std::int32_t> positions(Index layer, Index head) const {
    return at(layer).positions[static_cast<std::size_t>(head)];
  }
  /// [length, d]
  RowMatrixView keys(Index layer, Index head) const { return rows_of(at(layer).keys, layer, head); }
  RowMatrixView values(Index layer, Index head) const { return rows_of(at(layer).values, layer, head); }
  /// All heads of a layer, [heads, length, d]. Their lengths, and the room they have, must be equal.
  trace::TensorView layer_keys(Index layer) const { return tensor_of(at(layer).keys, layer); }
  trace::TensorView layer_values(Index layer) const { return tensor_of(at(layer).values, layer); }

  /// Allocates a layer's room, if it has none yet: before heads of it are appended to from several threads.
  void allocate(Index layer);
  /// `count` new slots of one head for positions next_position() ...: the caller fills both with [count, d].
  /// Throws std::length_error when the head has no room for them.
  struct NewSlots {
    Eigen::Map<RowMatrix> keys;
    Eigen::Map<RowMatrix> values;
  };
  NewSlots append(Index layer, Index head, Index count);
  /// Every head has been given `count` slots.
  void advance(Index count) { next_position_ += count; }
  /// Forgets what was last read, from `position` on, in every layer and head: the next token gets that position.
  void truncate(Index position);

  /// From now on the head holds these of its positions, in this order. A position may be given more than once (it is
  /// then stored as often), which can need more room. Throws std::logic_error for one that is not held.
  void keep(Index layer, Index head, std::span<const std::int32_t> positions);
  /// The same for a layer whose query heads are to hold slots of their own, each those of its kv head that it is given.
  /// Takes exactly the room needed. First keys are copied and the whole layer's let go of, then values: in between,
  /// half of what is kept is held besides the whole, then half of the whole besides what is kept.
  void split(Index layer, std::span<const std::span<const std::int32_t>> positions);
  /// Gives back what room the heads of a layer do not use.
  void shrink(Index layer);
  /// Makes room for `count` more slots in every head of every layer.
  void make_room(Index count);

  /// Of the slots held; of all memory allocated for slots, now and at most so far.
  std::int64_t held_bytes() const;
  std::int64_t allocated_bytes() const;
  std::int64_t peak_bytes() const { return peak_bytes_; }

 private:
  /// A layer's heads lie one after the other in one array of keys and one of values.
  struct Layer {
    RowMatrix keys;                                    // [first.back(), d], or nothing allocated yet
    RowMatrix values;                                  // as keys
    std::vector<Index> first;                          // [heads + 1]: head h has rows first[h] ... first[h+1] - 1
    std::vector<std::vector<std::int32_t>> positions;  // [heads] of [length]

    Index room(std::size_t head) const { return first[head + 1] - first[head]; }
  };

  const Layer& at(Index layer) const { return layers_[static_cast<std::size_t>(layer)]; }
  Layer& at(Index layer) { return layers_[static_cast<std::size_t>(layer)]; }
  RowMatrixView rows_of(const RowMatrix& array, Index layer, Index head) const;
  trace::TensorView tensor_of(const RowMatrix& array, Index layer) const;
  std::vector<Index> places_of(const Layer& layer, Index head, std::span<const std::int32_t> positions) const;
  void set_rooms(Layer& layer, const std::vector<Index>& rooms);
  void note_peak();

  Index kv_heads_;
  Index head_dim_;
  Index next_position_ = 0;
  std::int64_t peak_bytes_ = 0;
  std::vector<Layer> layers_;
};

}  // namespace evictlab::runtime
