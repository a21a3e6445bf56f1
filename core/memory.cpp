#include "core/memory.hpp"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace evictlab::core {

void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int kMostMapThreshold = 32 << 20;  // glibc takes no more
  constexpr int kTrimThreshold = 512 << 20;
  mallopt(M_MMAP_THRESHOLD, kMostMapThreshold);
  mallopt(M_TRIM_THRESHOLD, kTrimThreshold);
#endif
}

}  // namespace evictlab::core
