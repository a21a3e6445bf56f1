#pragma once

namespace evictlab::core {

/// Tells the allocator to keep what is freed instead of giving blocks of megabytes back to the system each time: layer
/// after layer needs the same ones, and getting a page anew costs more than what is computed in it. Called once by the
/// program; changes no result.
void keep_freed_memory();

}  // namespace evictlab::core
