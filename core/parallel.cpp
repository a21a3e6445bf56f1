#include "core/parallel.hpp"

#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <thread>

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
  return std::max<std::size_t>(1, std::thread::hardware_concurrency());
}

std::shared_ptr<Pool> current_pool() {
  const std::lock_guard lock(pool_mutex);
  if (!pool) pool = std::make_shared<Pool>(count_locked());
  return pool;
}

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
  const std::shared_ptr<Pool> own = current_pool();
  // Isolated: a thread that waits for a loop inside a body must not start another body of the outer
  // loop meanwhile, whose scratch memory may be the same thread's.
  own->arena.execute([&] { tbb::this_task_arena::isolate([&] { tbb::parallel_for(std::size_t{0}, count, body); }); });
}

}  // namespace evictlab::core
