#include "core/interrupt.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

#include "core/error.hpp"

namespace evictlab::core {
namespace {

// Each in a process of its own: signal handlers are the process's.
TEST(Interrupt, OneSignalStopsAtTheNextCheck) {
  for (const int signal : {SIGINT, SIGTERM}) {
    EXPECT_EXIT(
        {
          install_interrupt_handler();
          throw_if_interrupted();
          if (interrupted()) std::_Exit(1);
          raise(signal);
          if (!interrupted()) std::_Exit(2);
          try {
            throw_if_interrupted();
          } catch (const Interrupted&) {
            std::_Exit(7);
          }
          std::_Exit(3);
        },
        ::testing::ExitedWithCode(7), "");
  }
}

TEST(Interrupt, TheSecondSignalEndsTheProgram) {
  EXPECT_EXIT(
      {
        install_interrupt_handler();
        raise(SIGINT);
        raise(SIGINT);
        std::_Exit(0);
      },
      ::testing::ExitedWithCode(130), "");
}

TEST(Interrupt, AClosedPipeDoesNotKillTheProgram) {
  EXPECT_EXIT(
      {
        install_interrupt_handler();
        raise(SIGPIPE);
        std::_Exit(interrupted() ? 1 : 5);
      },
      ::testing::ExitedWithCode(5), "");
}

}  // namespace
}  // namespace evictlab::core
