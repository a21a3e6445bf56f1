#include "core/fixed_blocking.hpp"

#include <Eigen/Core>

#include <cstddef>

namespace evictlab::core {

void use_fixed_blocking() {
  constexpr std::ptrdiff_t kLevel1 = 32 << 10;
  constexpr std::ptrdiff_t kLevel2 = 512 << 10;
  constexpr std::ptrdiff_t kLevel3 = 8 << 20;
  static const bool done = [] {
    Eigen::setCpuCacheSizes(kLevel1, kLevel2, kLevel3);
    return true;
  }();
  static_cast<void>(done);
}

}  // namespace evictlab::core
