#pragma once

namespace evictlab::core {

/// From here on SIGINT and SIGTERM only set a flag (a second one ends the program at once) and
/// SIGPIPE is ignored. Long work calls throw_if_interrupted() at points where stopping is safe.
/// SIGBUS, which reading a mapped file raises where somebody cut it short meanwhile, ends the program with one
/// line on stderr and exit code 2: bad input.
void install_interrupt_handler();

/// Whether a signal has come since the handler was installed.
bool interrupted();

/// Throws Interrupted when a signal has come.
void throw_if_interrupted();

}  // namespace evictlab::core
