#include "runtime/kv_cache.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace evictlab::runtime {

KvCache::KvCache(Index layers, Index kv_heads, Index head_dim, Index capacity)
    : layers_(layers),
      kv_heads_(kv_heads),
      head_dim_(head_dim),
      capacity_(capacity),
      positions_(static_cast<std::size_t>(layers * kv_heads)) {
  for (Index layer = 0; layer < layers; ++layer) {
    keys_.emplace_back(kv_heads * capacity, head_dim);
    values_.emplace_back(kv_heads * capacity, head_dim);
  }
}

RowMatrixView KvCache::keys(Index layer, Index head) const {
  const RowMatrix& keys = keys_[static_cast<std::size_t>(layer)];
  return {keys.data() + head * capacity_ * head_dim_, length(layer, head), head_dim_, Eigen::OuterStride<>(head_dim_)};
}

RowMatrixView KvCache::values(Index layer, Index head) const {
  const RowMatrix& values = values_[static_cast<std::size_t>(layer)];
  return {values.data() + head * capacity_ * head_dim_, length(layer, head), head_dim_,
          Eigen::OuterStride<>(head_dim_)};
}

Index KvCache::equal_length(Index layer) const {
  const Index first = length(layer, 0);
  for (Index head = 1; head < kv_heads_; ++head) {
    if (length(layer, head) != first) {
      throw std::logic_error(
          fmt::format("heads 0 and {} of layer {} hold {} and {} slots", head, layer, first, length(layer, head)));
    }
  }
  return first;
}

trace::TensorView KvCache::layer_keys(Index layer) const {
  const trace::TensorView all(keys_[static_cast<std::size_t>(layer)].data(), kv_heads_, capacity_, head_dim_);
  return all.row_range(0, equal_length(layer));
}

trace::TensorView KvCache::layer_values(Index layer) const {
  const trace::TensorView all(values_[static_cast<std::size_t>(layer)].data(), kv_heads_, capacity_, head_dim_);
  return all.row_range(0, equal_length(layer));
}

KvCache::NewSlots KvCache::append(Index layer, Index head, Index count) {
  std::vector<std::int32_t>& positions = positions_[slot(layer, head)];
  const auto held = static_cast<Index>(positions.size());
  if (held + count > capacity_) {
    throw std::length_error(fmt::format("a key-value cache of {} slots cannot take {}", capacity_, held + count));
  }
  for (Index i = 0; i < count; ++i) positions.push_back(static_cast<std::int32_t>(next_position_ + i));
  const Index offset = (head * capacity_ + held) * head_dim_;
  return {{keys_[static_cast<std::size_t>(layer)].data() + offset, count, head_dim_},
          {values_[static_cast<std::size_t>(layer)].data() + offset, count, head_dim_}};
}

void KvCache::truncate(Index position) {
  next_position_ = std::min(next_position_, position);
  for (std::vector<std::int32_t>& held : positions_) {
    while (!held.empty() && held.back() >= position) held.pop_back();
  }
}

}  // namespace evictlab::runtime
