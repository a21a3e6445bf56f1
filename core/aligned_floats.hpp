#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace evictlab::core {

/// Room for floats that starts at a cache line: vectors that straddle two take twice the time to load.
class AlignedFloats {
 public:
  explicit AlignedFloats(std::size_t count, float value = 0.0F) : room_(count + kLine / sizeof(float), value) {
    void* start = room_.data();
    std::size_t space = room_.size() * sizeof(float);
    data_ = static_cast<float*>(std::align(kLine, count * sizeof(float), start, space));
  }
  AlignedFloats(const AlignedFloats&) = delete;
  AlignedFloats& operator=(const AlignedFloats&) = delete;
  AlignedFloats(AlignedFloats&&) = default;  // a vector's elements stay where they are
  AlignedFloats& operator=(AlignedFloats&&) = default;
  ~AlignedFloats() = default;
  float* data() { return data_; }
  const float* data() const { return data_; }

 private:
  static constexpr std::size_t kLine = 64;
  std::vector<float> room_;
  float* data_ = nullptr;
};

}  // namespace evictlab::core
