#include "core/interrupt.hpp"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "core/error.hpp"

namespace evictlab::core {
namespace {

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

void on_signal(int) {
  if (stop_requested.exchange(true)) _exit(130);
}

// Only what may be called in a signal handler: the thread it interrupts may hold any lock.
void say(std::initializer_list<std::string_view> parts) {
  for (const std::string_view part : parts) {
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, part.data(), part.size());
  }
}

void on_lost_bytes(int) {
  say({"evictlab: an input file was cut short while it was being read\n"});
  _exit(2);
}

thread_local constinit const ScopedCrashMessage* current_message = nullptr;

constexpr std::array kCrashes{SIGSEGV, SIGABRT, SIGFPE, SIGILL};
std::array<struct sigaction, kCrashes.size()> actions_before{};

void on_crash(int number) {
  if (const ScopedCrashMessage* message = ScopedCrashMessage::current()) {
    say({"evictlab: ", message->path(), ": ", message->what(), "\n"});
    _exit(2);
  }
  // Nobody's fault but ours: the instruction is run again, and what was to happen happens.
  for (std::size_t i = 0; i < kCrashes.size(); ++i) {
    if (kCrashes[i] == number) sigaction(number, &actions_before[i], nullptr);
  }
  if (number == SIGABRT) raise(SIGABRT);
}

/// A stack that ran over leaves no room for a handler: it gets a stack of its own, in the main thread.
void install_crash_handler() {
  static bool installed = false;
  if (std::exchange(installed, true)) return;
  static std::array<std::byte, 64 << 10> stack;
  stack_t alternative = {};
  stack_t before = {};
  alternative.ss_sp = stack.data();
  alternative.ss_size = stack.size();
  if (sigaltstack(nullptr, &before) == 0 && (before.ss_flags & SS_DISABLE) != 0) sigaltstack(&alternative, nullptr);
  struct sigaction action = {};
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_ONSTACK;
  action.sa_handler = on_crash;
  for (std::size_t i = 0; i < kCrashes.size(); ++i) sigaction(kCrashes[i], &action, &actions_before[i]);
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
  sigaction(SIGXFSZ, &action, nullptr);
  install_crash_handler();
}

ScopedCrashMessage::ScopedCrashMessage(const char* path, const char* what)
    : path_(path), what_(what), outer_(std::exchange(current_message, this)) {}

ScopedCrashMessage::~ScopedCrashMessage() { current_message = outer_; }

const ScopedCrashMessage* ScopedCrashMessage::current() { return current_message; }

void request_stop(bool stop) { stop_requested = stop; }

bool interrupted() { return stop_requested.load(); }

void throw_if_interrupted() {
  if (interrupted()) throw Interrupted();
}

}  // namespace evictlab::core
