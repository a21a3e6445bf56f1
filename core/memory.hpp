#pragma once

namespace evictlab::core {

/// Tells the allocator to keep what is freed instead of giving blocks of megabytes back to the system each time: layer
/// after layer needs the same ones, and getting a page anew costs more than what is computed in it. Called once by the
/// program; changes no result.
void keep_freed_memory();

/// Bytes that this process can still allocate, about: what the system has available, its control groups leave, and the
/// limit on its address space allows, whichever is least. Infinity where the system does not say.
double available_memory();

}  // namespace evictlab::core
