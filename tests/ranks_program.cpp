// What tests/cli/ranks_test.py runs under mpirun: ranks that meet, and ranks that fail while the others wait for them.

#include <fmt/format.h>

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>
#include <thread>

#include "lab/ranks.hpp"
#include "core/error.hpp"
#include "core/interrupt.hpp"

namespace {

using evictlab::lab::Ranks;

void meet(Ranks& ranks) {
  ranks.wait_for_all();
  std::cout << "rank " + std::to_string(ranks.rank()) + " of " + std::to_string(ranks.count()) + "\n" << std::flush;
}

/// Says that this rank is there and stays until a signal comes.
void stay() {
  std::cout << "here\n" << std::flush;
  for (;;) {
    evictlab::core::throw_if_interrupted();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void run(const std::string& what) {
  Ranks ranks;
  const bool last = ranks.rank() == ranks.count() - 1;
  if (what == "meet") return meet(ranks);
  if (what == "stay") return stay();
  if (what == "throw-while-others-leave") {
    if (last) throw evictlab::core::InputError("the last rank found bad input");
    return;
  }
  if (what == "be-interrupted-while-waiting") {
    if (!last) return stay();
    std::thread sender([] {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      kill(getpid(), SIGTERM);
    });
    sender.detach();
    return ranks.wait_for_all();
  }
  if (last && what == "throw") throw evictlab::core::InputError("the last rank found bad input");
  if (last && what == "be-killed") raise(SIGKILL);
  ranks.wait_for_all();
}

}  // namespace

/// Exits as cli::run() does.
int main(int argc, char** argv) {
  evictlab::core::install_interrupt_handler();
  try {
    run(argc > 1 ? argv[1] : "meet");
    return 0;
  } catch (const evictlab::core::InputError& error) {
    std::cerr << fmt::format("ranks: {}\n", error.what());  // one write, as cli::run() does
    return 2;
  } catch (const evictlab::core::Interrupted&) {
    std::cerr << "ranks: interrupted\n";
    return 130;
  }
}
