#pragma once

#include <filesystem>
#include <memory>
#include <span>

#include "trace/model.hpp"

namespace evictlab::trace {

/// Opens several traces of one model as one: the prompts of the first, then those of the second, ... Throws TraceError
/// when a trace cannot be read, when their models differ, and when two have a prompt of the same id, which result
/// tables could not tell apart.
std::unique_ptr<Source> open_traces(std::span<const std::filesystem::path> paths);

}  // namespace evictlab::trace
