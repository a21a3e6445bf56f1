#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <utility>

namespace evictlab::core {

/// Something the user gave (a file, an option, a value) cannot be used. The message is one line that
/// says what is wrong, where, and what would be right. The command line prints it and exits with 2;
/// any other exception is a fault of the program and exits with 1.
///
/// Each folder derives its own type (trace::TraceError, sim::PolicyError, ...), so that a caller can
/// tell them apart; all of them are caught as this one.
class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;

  template <typename... Args>
  explicit InputError(fmt::format_string<Args...> format, Args&&... args)
      : std::runtime_error(fmt::format(format, std::forward<Args>(args)...)) {}
};

/// The user pressed Ctrl-C (or sent SIGTERM) and the work was stopped at a safe point. Exit code 130.
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

}  // namespace evictlab::core
