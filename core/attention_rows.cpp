#include "core/attention_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "core/aligned_floats.hpp"
#include "core/attention_kernels.hpp"

namespace evictlab::core {
namespace {

constexpr float kHidden = -std::numeric_limits<float>::infinity();

// Keys are taken this many at a time: the logits of some hundred queries to them stay in the L2 cache, where they are
// made weights relative to the block's largest; what a row's blocks are to each other is settled at the end.
constexpr std::size_t kBlock = 8 * kKeyTile;
static_assert(kBlock % kSumLanes == 0 && kKeyTile % kSumLanes == 0);

constexpr std::size_t round_up(std::size_t count, std::size_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

template <typename Key>
class AttentionRows {
 public:
  AttentionRows(const AttentionKernels& kernels, std::span<const float> queries, std::span<const Key> keys,
                std::size_t dim, float scale, std::span<const VisibleKeys> visible, std::span<float> rows)
      : kernels_(kernels),
        keys_(keys),
        dim_(dim),
        count_(keys.size() / dim),
        scale_(scale),
        visible_(visible),
        rows_(rows),
        query_tiles_(round_up(visible.size(), kQueryTile) / kQueryTile),
        padded_blocks_(round_up((count_ + kBlock - 1) / kBlock, kSumLanes)),
        queries_(query_tiles_ * kQueryTile * dim),
        key_rows_(kKeyTile * dim),
        key_tile_(kKeyTile * dim),
        logits_(query_tiles_ * kQueryTile * kBlock),
        maxima_(visible.size() * padded_blocks_, kHidden),
        sums_(visible.size() * padded_blocks_) {
    for (std::size_t r = 0; r < visible.size(); ++r) {
      float* tile = queries_.data() + r / kQueryTile * kQueryTile * dim;
      for (std::size_t i = 0; i < dim; ++i) tile[i * kQueryTile + r % kQueryTile] = queries[r * dim + i];
    }
  }

  void compute() {
    for (std::size_t first = 0; first < count_; first += kBlock) {
      const std::size_t size = std::min(kBlock, count_ - first);
      multiply_block(first, size);
      for (std::size_t r = 0; r < visible_.size(); ++r) weigh_block(r, first, size);
    }
    for (std::size_t r = 0; r < visible_.size(); ++r) normalise(r);
  }

 private:
  // logits [R, kBlock] of the keys first .. first+size-1, without the scale.
  void multiply_block(std::size_t first, std::size_t size) {
    std::fill_n(logits_.data(), query_tiles_ * kQueryTile * kBlock, 0.0F);
    for (std::size_t j = 0; j < size; j += kKeyTile) {
      load_tile(first + j, std::min(kKeyTile, size - j));
      for (std::size_t tile = 0; tile < query_tiles_; ++tile) {
        kernels_.multiply(queries_.data() + tile * kQueryTile * dim_, key_tile_.data(), dim_,
                          logits_.data() + tile * kQueryTile * kBlock + j, kBlock);
      }
    }
  }

  void load_tile(std::size_t first, std::size_t size) {
    const std::span<const Key> stored = keys_.subspan(first * dim_, size * dim_);
    float* floats = key_rows_.data();
    if constexpr (std::is_same_v<Key, Half>) {
      to_float(stored, {floats, stored.size()});
    } else {
      std::ranges::copy(stored, floats);
    }
    std::fill(floats + stored.size(), floats + kKeyTile * dim_, 0.0F);
    kernels_.transpose(floats, kKeyTile, dim_, key_tile_.data());
  }

  // The row's weights in the block, relative to the block's largest.
  void weigh_block(std::size_t r, std::size_t first, std::size_t size) {
    float* logits = logits_.data() + r * kBlock;
    float* row = rows_.data() + r * count_ + first;
    const std::size_t begin = std::clamp(visible_[r].begin, first, first + size) - first;
    const std::size_t end = std::clamp(visible_[r].end, first, first + size) - first;
    if (begin >= end) {
      std::fill_n(row, size, 0.0F);
      return;
    }
    const std::size_t padded = round_up(size, kSumLanes);
    std::fill(logits, logits + begin, kHidden);
    std::fill(logits + end, logits + padded, kHidden);
    float* weights = padded == size ? row : logits;
    const std::size_t block = r * padded_blocks_ + first / kBlock;
    maxima_.data()[block] = kernels_.exponentials(logits, padded, scale_, weights, &sums_[block]);
    if (weights != row) std::copy_n(weights, size, row);
  }

  // Multiplies each block's weights by e^(scale (block's largest - row's largest)) / the row's sum.
  void normalise(std::size_t r) {
    float* factors = maxima_.data() + r * padded_blocks_;
    double sum_of_factors = 0;
    kernels_.exponentials(factors, padded_blocks_, scale_, factors, &sum_of_factors);
    if (sum_of_factors == 0) return;  // it sees no key
    double sum = 0;
    for (std::size_t b = 0; b < padded_blocks_; ++b) sum += double{factors[b]} * sums_[r * padded_blocks_ + b];
    for (std::size_t first = 0; first < count_; first += kBlock) {
      const auto factor = static_cast<float>(double{factors[first / kBlock]} / sum);
      float* row = rows_.data() + r * count_ + first;
      const std::size_t size = std::min(kBlock, count_ - first);
      for (std::size_t j = 0; j < size; ++j) row[j] *= factor;
    }
  }

  const AttentionKernels& kernels_;
  std::span<const Key> keys_;  // [n, dim]
  std::size_t dim_;
  std::size_t count_;  // n
  float scale_;
  std::span<const VisibleKeys> visible_;  // [R]
  std::span<float> rows_;                 // [R, n]
  std::size_t query_tiles_;
  std::size_t padded_blocks_;  // blocks of keys, with more that hold none
  AlignedFloats queries_;      // [query tiles, dim, kQueryTile], zeros behind the last query
  AlignedFloats key_rows_;     // [kKeyTile, dim]
  AlignedFloats key_tile_;     // [dim, kKeyTile]
  AlignedFloats logits_;       // [R, kBlock]
  AlignedFloats maxima_;       // [R, padded blocks], -infinity where nothing is visible
  std::vector<double> sums_;   // [R, padded blocks], of weights relative to the block's largest
};

void require_sizes(std::size_t queries, std::size_t keys, std::size_t dim, float scale,
                   std::span<const VisibleKeys> visible, std::size_t rows) {
  if (dim == 0 || queries != visible.size() * dim || keys % dim != 0 || rows != visible.size() * (keys / dim)) {
    throw std::invalid_argument(fmt::format("{} values of queries and {} of keys do not make {} attention rows of {}",
                                            queries, keys, visible.size(), rows));
  }
  if (!(scale >= 0.0F)) throw std::invalid_argument(fmt::format("attention scale {} is negative", scale));
  for (const VisibleKeys& range : visible) {
    if (range.begin > range.end || range.end > keys / dim) {
      throw std::invalid_argument(
          fmt::format("visible keys {} to {} of {} are no range", range.begin, range.end, keys / dim));
    }
  }
}

template <typename Key>
void compute(const AttentionKernels& kernels, std::span<const float> queries, std::span<const Key> keys,
             std::size_t dim, float scale, std::span<const VisibleKeys> visible, std::span<float> rows) {
  require_sizes(queries.size(), keys.size(), dim, scale, visible, rows.size());
  AttentionRows<Key>(kernels, queries, keys, dim, scale, visible, rows).compute();
}

}  // namespace

void attention_rows(const AttentionKernels& kernels, std::span<const float> queries, std::span<const float> keys,
                    std::size_t dim, float scale, std::span<const VisibleKeys> visible, std::span<float> rows) {
  compute(kernels, queries, keys, dim, scale, visible, rows);
}

void attention_rows(const AttentionKernels& kernels, std::span<const float> queries, std::span<const Half> keys,
                    std::size_t dim, float scale, std::span<const VisibleKeys> visible, std::span<float> rows) {
  compute(kernels, queries, keys, dim, scale, visible, rows);
}

void attention_rows(std::span<const float> queries, std::span<const float> keys, std::size_t dim, float scale,
                    std::span<const VisibleKeys> visible, std::span<float> rows) {
  compute(fastest_attention_kernels(), queries, keys, dim, scale, visible, rows);
}

void attention_rows(std::span<const float> queries, std::span<const Half> keys, std::size_t dim, float scale,
                    std::span<const VisibleKeys> visible, std::span<float> rows) {
  compute(fastest_attention_kernels(), queries, keys, dim, scale, visible, rows);
}

}  // namespace evictlab::core
