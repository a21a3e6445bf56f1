#pragma once

namespace evictlab::core {

/// From here on SIGINT and SIGTERM only set a flag (a second one ends the program at once) and
/// SIGPIPE is ignored. Long work calls throw_if_interrupted() at points where stopping is safe.
void install_interrupt_handler();

/// Whether a signal has come since the handler was installed.
bool interrupted();

/// Throws Interrupted when a signal has come.
void throw_if_interrupted();

}  // namespace evictlab::core
