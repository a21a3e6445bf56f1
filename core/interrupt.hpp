#pragma once

namespace evictlab::core {

/// From here on SIGINT and SIGTERM only set a flag (a second one ends the program at once) and
/// SIGPIPE and SIGXFSZ are ignored: what cannot be written is an error like others. Long work calls throw_if_interrupted() at points where stopping is safe.
/// SIGBUS, which reading a mapped file raises where somebody cut it short meanwhile, ends the program with one
/// line on stderr and exit code 2: bad input. So do crashes that a CrashBlame puts on a file.
void install_interrupt_handler();

/// Whether a signal has come since the handler was installed.
bool interrupted();

/// Stops long work as a signal would, or lets work go on again: for programs that have signal handlers of their own.
void request_stop(bool stop);

/// Throws Interrupted when a signal has come.
void throw_if_interrupted();

/// While one lives, a crash of its thread (SIGSEGV, SIGABRT, SIGFPE, SIGILL), once the handler is installed, ends the
/// program with the line "evictlab: PATH: WHAT" on stderr and exit code 2. For calls into a library that a damaged file
/// can crash. Both texts must outlive it; of nested ones the innermost counts.
class CrashBlame {
 public:
  CrashBlame(const char* path, const char* what);
  ~CrashBlame();
  CrashBlame(const CrashBlame&) = delete;
  CrashBlame& operator=(const CrashBlame&) = delete;

  /// For the signal handler: the innermost of this thread, or null.
  static const CrashBlame* current();
  const char* path() const { return path_; }
  const char* what() const { return what_; }

 private:
  const char* path_;
  const char* what_;
  const CrashBlame* outer_;
};

}  // namespace evictlab::core
