#include "runtime/kv_cache.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "runtime/row_moves.hpp"

namespace evictlab::runtime {

KvCache::KvCache(Index layers, Index kv_heads, Index head_dim, Index capacity)
    : kv_heads_(kv_heads), head_dim_(head_dim), layers_(static_cast<std::size_t>(layers)) {
  for (Layer& layer : layers_) {
    layer.positions.resize(static_cast<std::size_t>(kv_heads));
    for (Index head = 0; head <= kv_heads; ++head) layer.first.push_back(head * capacity);
  }
}

RowMatrixView KvCache::rows_of(const RowMatrix& array, Index layer, Index head) const {
  const Index first = at(layer).first[static_cast<std::size_t>(head)];
  return {array.data() + first * head_dim_, length(layer, head), head_dim_, Eigen::OuterStride<>(head_dim_)};
}

trace::TensorView KvCache::tensor_of(const RowMatrix& array, Index layer) const {
  const Layer& own = at(layer);
  for (std::size_t head = 1; head < own.positions.size(); ++head) {
    if (own.positions[head].size() == own.positions[0].size() && own.room(head) == own.room(0)) continue;
    throw std::logic_error(fmt::format("heads 0 and {} of layer {} hold {} and {} slots, in room for {} and {}", head,
                                       layer, own.positions[0].size(), own.positions[head].size(), own.room(0),
                                       own.room(head)));
  }
  if (own.positions[0].empty()) return {};
  const trace::TensorView all(array.data(), heads(layer), own.room(0), head_dim_);
  return all.row_range(0, length(layer, 0));
}

void KvCache::allocate(Index layer) {
  Layer& own = at(layer);
  if (own.keys.rows() == own.first.back()) return;
  own.keys.resize(own.first.back(), head_dim_);
  own.values.resize(own.first.back(), head_dim_);
  note_peak();
}

KvCache::NewSlots KvCache::append(Index layer, Index head, Index count) {
  allocate(layer);
  Layer& own = at(layer);
  const auto index = static_cast<std::size_t>(head);
  std::vector<std::int32_t>& positions = own.positions[index];
  const auto held = static_cast<Index>(positions.size());
  if (held + count > own.room(index)) {
    throw std::length_error(
        fmt::format("a head with room for {} key-value pairs cannot take {}", own.room(index), held + count));
  }
  for (Index i = 0; i < count; ++i) positions.push_back(static_cast<std::int32_t>(next_position_ + i));
  const Index offset = (own.first[index] + held) * head_dim_;
  return {{own.keys.data() + offset, count, head_dim_}, {own.values.data() + offset, count, head_dim_}};
}

void KvCache::truncate(Index position) {
  next_position_ = std::min(next_position_, position);
  for (Layer& layer : layers_) {
    for (std::vector<std::int32_t>& held : layer.positions) {
      while (!held.empty() && held.back() >= position) held.pop_back();
    }
  }
}

// Where a head's positions are among its rows; of one that is stored more than once, the first.
std::vector<Index> KvCache::places_of(const Layer& layer, Index head, std::span<const std::int32_t> positions) const {
  const std::vector<std::int32_t>& held = layer.positions[static_cast<std::size_t>(head)];
  const std::int32_t largest = held.empty() ? -1 : *std::ranges::max_element(held);
  std::vector<Index> place_of(static_cast<std::size_t>(largest + 1), -1);
  for (std::size_t i = held.size(); i-- > 0;) place_of[static_cast<std::size_t>(held[i])] = static_cast<Index>(i);
  std::vector<Index> places;
  places.reserve(positions.size());
  for (const std::int32_t position : positions) {
    const Index place = position < 0 || position > largest ? -1 : place_of[static_cast<std::size_t>(position)];
    if (place < 0) throw std::logic_error(fmt::format("position {} is not held", position));
    places.push_back(place);
  }
  return places;
}

void KvCache::keep(Index layer, Index head, std::span<const std::int32_t> positions) {
  Layer& own = at(layer);
  const auto index = static_cast<std::size_t>(head);
  const std::vector<Index> places = places_of(own, head, positions);
  const auto count = static_cast<Index>(positions.size());
  if (count > own.room(index)) {
    std::vector<Index> rooms;
    for (std::size_t h = 0; h < own.positions.size(); ++h) rooms.push_back(h == index ? count : own.room(h));
    set_rooms(own, rooms);
  }
  const std::vector<RowMove> moves = moves_to_gather(places, std::max(count, length(layer, head)));
  apply_moves(moves, own.keys.data() + own.first[index] * head_dim_, head_dim_);
  apply_moves(moves, own.values.data() + own.first[index] * head_dim_, head_dim_);
  own.positions[index].assign(positions.begin(), positions.end());
}

void KvCache::split(Index layer, std::span<const std::span<const std::int32_t>> positions) {
  Layer& own = at(layer);
  Layer whole = std::move(own);
  own = Layer{};
  const auto group = static_cast<Index>(positions.size()) / kv_heads_;
  own.first.push_back(0);
  std::vector<std::vector<Index>> places;
  for (std::size_t head = 0; head < positions.size(); ++head) {
    places.push_back(places_of(whole, static_cast<Index>(head) / group, positions[head]));
    own.positions.emplace_back(positions[head].begin(), positions[head].end());
    own.first.push_back(own.first.back() + static_cast<Index>(positions[head].size()));
  }
  const std::int64_t others = allocated_bytes();  // this layer's arrays are in `whole`
  for (RowMatrix Layer::*array : {&Layer::keys, &Layer::values}) {
    RowMatrix& kept = own.*array;
    kept.resize(own.first.back(), head_dim_);
    const Index held_now = whole.keys.size() + whole.values.size() + own.keys.size() + own.values.size();
    peak_bytes_ = std::max(peak_bytes_, others + held_now * static_cast<Index>(sizeof(float)));
    for (std::size_t head = 0; head < places.size(); ++head) {
      const Index from = whole.first[head / static_cast<std::size_t>(group)];
      for (Index i = 0; i < static_cast<Index>(places[head].size()); ++i) {
        kept.row(own.first[head] + i) = (whole.*array).row(from + places[head][static_cast<std::size_t>(i)]);
      }
    }
    (whole.*array).resize(0, head_dim_);
  }
}

// Moves every head to where it begins when the heads have so much room.
void KvCache::set_rooms(Layer& layer, const std::vector<Index>& rooms) {
  std::vector<Index> first{0};
  for (const Index room : rooms) first.push_back(first.back() + room);
  const Index before = layer.first.back();
  const Index after = first.back();
  for (RowMatrix* array : {&layer.keys, &layer.values}) {
    if (after > before) array->conservativeResize(after, head_dim_);
    const auto move = [&](std::size_t head) {
      std::memmove(array->data() + first[head] * head_dim_, array->data() + layer.first[head] * head_dim_,
                   layer.positions[head].size() * static_cast<std::size_t>(head_dim_) * sizeof(float));
    };
    // No head may be overwritten before it has moved: those that go down from the front, those that go up from behind.
    const std::size_t heads = layer.positions.size();
    for (std::size_t head = 0; head < heads; ++head) {
      if (first[head] < layer.first[head]) move(head);
    }
    for (std::size_t head = heads; head-- > 0;) {
      if (first[head] > layer.first[head]) move(head);
    }
    if (after < before) array->conservativeResize(after, head_dim_);
  }
  layer.first = std::move(first);
  note_peak();
}

void KvCache::shrink(Index layer) {
  Layer& own = at(layer);
  std::vector<Index> rooms;
  for (const auto& positions : own.positions) rooms.push_back(static_cast<Index>(positions.size()));
  set_rooms(own, rooms);
}

void KvCache::make_room(Index count) {
  for (Layer& layer : layers_) {
    std::vector<Index> rooms;
    for (std::size_t head = 0; head < layer.positions.size(); ++head) {
      rooms.push_back(std::max(layer.room(head), static_cast<Index>(layer.positions[head].size()) + count));
    }
    set_rooms(layer, rooms);
  }
}

std::int64_t KvCache::held_bytes() const {
  std::int64_t slots = 0;
  for (const Layer& layer : layers_) {
    for (const auto& positions : layer.positions) slots += static_cast<std::int64_t>(positions.size());
  }
  return slots * 2 * head_dim_ * static_cast<Index>(sizeof(float));
}

std::int64_t KvCache::allocated_bytes() const {
  std::int64_t floats = 0;
  for (const Layer& layer : layers_) floats += layer.keys.size() + layer.values.size();
  return floats * static_cast<std::int64_t>(sizeof(float));
}

void KvCache::note_peak() { peak_bytes_ = std::max(peak_bytes_, allocated_bytes()); }

}  // namespace evictlab::runtime
