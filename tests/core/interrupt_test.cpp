#include "core/interrupt.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/error.hpp"
#include "core/file.hpp"
#include "testing/temporary_directory.hpp"

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

TEST(Interrupt, AMappedFileThatIsCutShortEndsTheProgramWithOneLine) {
  const testing::TemporaryDirectory directory;
  const std::filesystem::path path = directory / "input";
  write_text(path, std::string(100000, 'x'));
  EXPECT_EXIT(
      {
        install_interrupt_handler();
        const MappedFile file(path);
        std::filesystem::resize_file(path, 10);
        std::_Exit(static_cast<int>(file.bytes().back()));
      },
      ::testing::ExitedWithCode(2), "^evictlab: an input file was cut short while it was being read\n$");
}

TEST(ScopedCrashMessage, ACrashEndsTheProgramWithOneLineThatNamesTheFile) {
  for (const int signal : {SIGSEGV, SIGABRT, SIGFPE, SIGILL}) {
    EXPECT_EXIT(
        {
          install_interrupt_handler();
          const ScopedCrashMessage message("t.h5", "the library crashed on it");
          const ScopedCrashMessage inner("part.h5", "the library crashed on it");
          raise(signal);
        },
        ::testing::ExitedWithCode(2), "^evictlab: part.h5: the library crashed on it\n$");
  }
}

TEST(ScopedCrashMessage, EndsWithItsScope) {
  const auto died = [](int status) { return !::testing::ExitedWithCode(2)(status); };
  EXPECT_EXIT(
      {
        install_interrupt_handler();
        { const ScopedCrashMessage message("t.h5", "the library crashed on it"); }
        raise(SIGABRT);
      },
      died, "");
}

}  // namespace
}  // namespace evictlab::core
