#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

// A trace in pieces: the directory OUT.parts/ with one HDF5 file for the model and one for each finished prompt.

namespace evictlab::trace {

/// The part that holds the model; every other part holds one prompt.
inline constexpr std::string_view kModelPart = "model.h5";

/// The directory that collects the parts of a trace while it is recorded: "<trace>.parts".
std::filesystem::path parts_directory(const std::filesystem::path& trace);

/// The finished parts of prompts in a directory, sorted by name.
std::vector<std::filesystem::path> list_parts(const std::filesystem::path& directory);

/// Removes the files that a killed recording did not finish (*.h5.tmp).
void remove_unfinished(const std::filesystem::path& directory);

/// Removes what recording wrote, and the directory unless it holds anything else. What cannot be removed stays.
void remove_parts(const std::filesystem::path& directory);

}  // namespace evictlab::trace
