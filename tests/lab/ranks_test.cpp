#include "lab/ranks.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace evictlab::lab {
namespace {

// ranks_test.py has the tests with several processes.

void forget_launchers() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "PMIX_RANK"}) unsetenv(name);
}

TEST(Ranks, AProcessOnItsOwnIsRankZeroOfOne) {
  forget_launchers();
  Ranks ranks;
  EXPECT_EQ(ranks.rank(), 0);
  EXPECT_EQ(ranks.count(), 1);
  EXPECT_TRUE(ranks.first());
  ranks.wait_for_all();
}

TEST(Ranks, OneProcessUnderALauncherIsOnItsOwn) {
  forget_launchers();
  setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
  setenv("SLURM_STEP_NUM_TASKS", "8", 1);  // an mpirun -n 1 inside a larger srun
  setenv("PMIX_RANK", "0", 1);
  EXPECT_EQ(Ranks().count(), 1);
  forget_launchers();
}

}  // namespace
}  // namespace evictlab::lab
