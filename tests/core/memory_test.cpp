#include "core/memory.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace evictlab::core {
namespace {

TEST(AvailableMemory, IsSomeOfWhatTheMachineHas) {
  EXPECT_GT(available_memory(), 1 << 20);
  EXPECT_LE(available_memory(),
            static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE)));
}

// In a process of its own, whose address space stays so small.
TEST(AvailableMemory, IsWhatALimitOnTheAddressSpaceLeaves) {
  EXPECT_EXIT(
      {
        rlim_t pages = 0;
        std::ifstream("/proc/self/statm") >> pages;
        constexpr rlim_t kLeft = 64 << 20;
        const rlim_t size = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + kLeft;
        rlimit limit;
        limit.rlim_cur = limit.rlim_max = size;
        setrlimit(RLIMIT_AS, &limit);
        const double left = available_memory();
        std::_Exit(left > 0 && left <= 1.5 * static_cast<double>(kLeft) ? 7 : 1);
      },
      ::testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace evictlab::core
