#pragma once

#include <cstddef>
#include <functional>

namespace evictlab::core {

/// How many threads parallel_for may use; 0 (the start) means all the machine has.
void set_threads(std::size_t count);
std::size_t threads();

/// Calls body(0) ... body(count-1), in any order and on any thread, and returns when all have ended.
/// Each call must write only what is its own: then results do not depend on the number of threads.
/// When bodies throw, the exception of the first of them, in the order 0 ... count-1, is thrown here, whatever the
/// number of threads; the bodies before it have run, those after it perhaps. After core::Interrupted no more bodies
/// begin.
void parallel_for(std::size_t count, const std::function<void(std::size_t)>& body);

}  // namespace evictlab::core
