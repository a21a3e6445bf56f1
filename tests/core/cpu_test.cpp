#include "core/cpu.hpp"

#include <gtest/gtest.h>

#include "core/built_for.hpp"
#include "core/version.hpp"

namespace evictlab::core {
namespace {

// That this test runs at all shows that the machine has what it was compiled for.
TEST(Cpu, TheMachineThatRunsTheTestsLacksNothing) { EXPECT_EQ(missing_cpu_features(), ""); }

TEST(Cpu, TheBuildStatesWhatTheCompilerMayUse) {
#ifdef __AVX2__
  EXPECT_TRUE(kBuiltFor.avx2);
#else
  EXPECT_FALSE(kBuiltFor.avx2);
#endif
#ifdef __F16C__
  EXPECT_TRUE(kBuiltFor.f16c);
#else
  EXPECT_FALSE(kBuiltFor.f16c);
#endif
}

TEST(Version, HasThreeNumbers) {
  int dots = 0;
  for (const char* c = version(); *c != '\0'; ++c) dots += *c == '.' ? 1 : 0;
  EXPECT_EQ(dots, 2);
}

}  // namespace
}  // namespace evictlab::core
