#include "core/progress.hpp"

#include <gtest/gtest.h>

namespace evictlab::core {
namespace {

TEST(Progress, ShowsShareRateAndTimeLeft) {
  // 420 of 1000 in 4.2 s: 100 a second, 580 left, 5.8 s; 42 % of 20 places are 8.
  EXPECT_EQ(Progress::line("recording", 420, 1000, "tokens", 4.2),
            "recording  [########............]  42 %  100 tokens/s  ETA 0:06");
}

TEST(Progress, BeforeTheFirstUnitThereIsNoRate) {
  EXPECT_EQ(Progress::line("recording", 0, 10, "prompts", 3.0), "recording  [....................]  0 %");
  EXPECT_EQ(Progress::line("recording", 0, 0, "prompts", 0.0), "recording  [####################]  100 %");
}

TEST(Progress, SlowWorkShowsDecimalsAndHours) {
  // 1 of 2 in 2 hours: 0.0 a second, 2 hours left.
  EXPECT_EQ(Progress::line("x", 1, 2, "prompts", 7200), "x  [##########..........]  50 %  0.0 prompts/s  ETA 2:00:00");
  EXPECT_EQ(Progress::line("x", 1, 2, "prompts", 1e9), "x  [##########..........]  50 %  0.0 prompts/s");
}

TEST(Progress, StaysWithinTheBarWhenMoreIsDoneThanPlanned) {
  EXPECT_EQ(Progress::line("x", 30, 20, "prompts", 1), "x  [####################]  100 %  30 prompts/s  ETA 0:00");
}

TEST(Progress, IsSilentWhenStderrIsNoTerminal) {
  ::testing::internal::CaptureStderr();  // a file
  {
    Progress progress("recording", 10, "tokens");
    progress.advance(5);
    progress.advance_to(10);
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace evictlab::core
