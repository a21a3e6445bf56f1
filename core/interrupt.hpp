#pragma once

namespace evictlab::core {

/// From here on SIGINT and SIGTERM only set a flag (a second one ends the program at once) and
/// SIGPIPE and SIGXFSZ are ignored: what cannot be written is an error like others. Long work calls
/// throw_if_interrupted() at points where stopping is safe.
/// SIGBUS, which reading a mapped file raises where somebody cut it short meanwhile, ends the program with one
/// line on stderr and exit code 2: bad input. So do crashes while a ScopedCrashMessage is alive.
void install_interrupt_handler();

/// Whether a signal has come since the handler was installed.
bool interrupted();

/// Stops long work as a signal would, or lets work go on again: for programs that have signal handlers of their own.
void request_stop(bool stop);

/// Throws Interrupted when a signal has come.
void throw_if_interrupted();

/// Gives a crash of its thread (SIGSEGV, SIGABRT, SIGFPE, SIGILL) a message: once the handler is installed, the program
/// then ends with the line "evictlab: PATH: WHAT" on stderr and exit code 2. For calls into a library that a damaged
/// file can crash. Both texts must outlive it; of nested ones the innermost counts.
class ScopedCrashMessage {
 public:
  ScopedCrashMessage(const char* path, const char* what);
  ~ScopedCrashMessage();
  ScopedCrashMessage(const ScopedCrashMessage&) = delete;
  ScopedCrashMessage& operator=(const ScopedCrashMessage&) = delete;

  /// For the signal handler: the innermost of this thread, or null.
  static const ScopedCrashMessage* current();
  const char* path() const { return path_; }
  const char* what() const { return what_; }

 private:
  const char* path_;
  const char* what_;
  const ScopedCrashMessage* outer_;
};

}  // namespace evictlab::core
