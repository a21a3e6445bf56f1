#include "core/interrupt.hpp"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <string_view>

#include "core/error.hpp"

namespace evictlab::core {
namespace {

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

void on_signal(int) {
  if (stop_requested.exchange(true)) _exit(130);
}

// Only what may be called in a signal handler: the thread it interrupts may hold any lock.
void on_lost_bytes(int) {
  constexpr std::string_view kMessage = "evictlab: an input file was cut short while it was being read\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kMessage.data(), kMessage.size());
  _exit(2);
}

}  // namespace

void install_interrupt_handler() {
  stop_requested = false;
  struct sigaction action = {};
  sigemptyset(&action.sa_mask);
  // Restarting system calls keeps a write in progress whole: only our own checks stop the work.
  action.sa_flags = SA_RESTART;
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = on_lost_bytes;
  sigaction(SIGBUS, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
}

bool interrupted() { return stop_requested.load(); }

void throw_if_interrupted() {
  if (interrupted()) throw Interrupted();
}

}  // namespace evictlab::core
