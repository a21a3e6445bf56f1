#include <atomic>
#include <chrono>
#include <future>
#include <optional>

#include "binding.hpp"
#include "core/error.hpp"
#include "core/interrupt.hpp"

namespace evictlab::python {
namespace {

thread_local int inside_calls = 0;

}  // namespace

InsideCall::InsideCall() { ++inside_calls; }
InsideCall::~InsideCall() { --inside_calls; }

void run_interruptibly(const py::object& progress, const std::function<void(const Progress&)>& work) {
  if (inside_calls > 0) {
    throw core::InputError("a scorer or allocator cannot call replay and its like: it runs inside such a call itself");
  }
  std::atomic<double> done = 0;
  std::atomic<double> total = 0;
  std::future<void> running;
  {
    const py::gil_scoped_release release;
    running = std::async(std::launch::async, [&] {
      work([&](double now, double all) {
        done = now;
        total = all;
      });
    });
  }
  const auto tell = [&] {
    if (!progress.is_none() && total > 0) progress(done.load(), total.load());
  };
  std::optional<py::error_already_set> raised;
  while (true) {
    std::future_status status;
    {
      const py::gil_scoped_release release;
      status = running.wait_for(std::chrono::milliseconds(50));
    }
    if (status == std::future_status::ready) break;
    if (raised) continue;
    try {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      tell();
    } catch (const py::error_already_set& error) {
      // Ctrl-C, or what `progress` raised: the work stops first, then it is raised.
      raised = error;
      core::request_stop(true);
    }
  }
  if (raised) {
    core::request_stop(false);
    try {
      running.get();
    } catch (const std::exception&) {  // what interrupting it led to
    }
    throw *raised;
  }
  running.get();
  tell();
}

}  // namespace evictlab::python
