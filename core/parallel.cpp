#include "core/parallel.hpp"

#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.hpp"

namespace evictlab::core {
namespace {

// The arena says how many threads one loop uses; the control lets there be more than the machine has
// processors, which tests of independence from the thread count need.
struct Pool {
  explicit Pool(std::size_t count)
      : control(tbb::global_control::max_allowed_parallelism, count), arena(static_cast<int>(count)) {}
  tbb::global_control control;
  tbb::task_arena arena;
};

std::mutex pool_mutex;
std::size_t requested = 0;
std::shared_ptr<Pool> pool;  // made at first use

std::size_t count_locked() {
  if (requested != 0) return requested;
  // Asked once: the C library reads a file each time.
  static const std::size_t machine = std::max<std::size_t>(1, std::thread::hardware_concurrency());
  return machine;
}

[[maybe_unused]] std::shared_ptr<Pool> current_pool() {
  const std::lock_guard lock(pool_mutex);
  if (!pool) pool = std::make_shared<Pool>(count_locked());
  return pool;
}

/// Keeps the exception of the first body that throws, and runs no bodies after it.
class FirstFailure {
 public:
  explicit FirstFailure(std::size_t count) : first_(count) {}

  void run(std::size_t i, const std::function<void(std::size_t)>& body) {
    if (i > first_ || interrupted_) return;
    try {
      body(i);
    } catch (const Interrupted&) {
      interrupted_ = true;
      keep(0);
    } catch (...) {
      keep(i);
    }
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void keep(std::size_t i) {
    const std::lock_guard lock(mutex_);
    if (failure_ && i >= first_) return;
    first_ = i;
    failure_ = std::current_exception();
  }

  std::atomic<std::size_t> first_;
  std::atomic<bool> interrupted_ = false;
  std::mutex mutex_;
  std::exception_ptr failure_;
};

#ifdef __SANITIZE_THREAD__
// Debian's TBB is not instrumented: the thread sanitizer does not see how its threads wait for one another. Under it
// loops run on threads that it does see, loops inside loops one after the other.
void run_loop(std::size_t count, const std::function<void(std::size_t)>& body) {
  thread_local bool inside = false;
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    const bool outer = std::exchange(inside, true);
    for (std::size_t i = next++; i < count; i = next++) body(i);
    inside = outer;
  };
  std::vector<std::jthread> helpers;
  for (std::size_t i = 1; !inside && i < std::min(threads(), count); ++i) helpers.emplace_back(work);
  work();
}
#else
void run_loop(std::size_t count, const std::function<void(std::size_t)>& body) {
  const std::shared_ptr<Pool> own = current_pool();
  // Isolated: a thread that waits for a loop inside a body must not start another body of the outer
  // loop meanwhile, whose scratch memory may be the same thread's.
  own->arena.execute([&] { tbb::this_task_arena::isolate([&] { tbb::parallel_for(std::size_t{0}, count, body); }); });
}
#endif

}  // namespace

void set_threads(std::size_t count) {
  const std::lock_guard lock(pool_mutex);
  requested = std::min<std::size_t>(count, 4096);
  pool.reset();  // loops that run now keep theirs until they end
}

std::size_t threads() {
  const std::lock_guard lock(pool_mutex);
  return count_locked();
}

void parallel_for(std::size_t count, const std::function<void(std::size_t)>& body) {
  if (count <= 1 || threads() == 1) {
    for (std::size_t i = 0; i < count; ++i) body(i);
    return;
  }
  FirstFailure failure(count);
  run_loop(count, [&](std::size_t i) { failure.run(i, body); });
  failure.rethrow();
}

}  // namespace evictlab::core
