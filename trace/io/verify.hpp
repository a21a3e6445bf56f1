#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace evictlab::trace {

/// Lists everything that is wrong with a trace, one line each; empty = sound. Checks hashes, shapes, that values are
/// finite, that attention rows are causal and sum to one within storage precision, and that masses add up.
std::vector<std::string> verify_trace(const std::filesystem::path& path);

}  // namespace evictlab::trace
