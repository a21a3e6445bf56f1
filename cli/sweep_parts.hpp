#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sim/replay.hpp"

namespace evictlab::cli {

/// What a sweep has finished so far: DIR/parts, with the sweep's settings and one file per finished prompt, each
/// written whole or not at all. A sweep that was stopped, or one of whose processes died, goes on from there.
class SweepParts {
 public:
  explicit SweepParts(std::filesystem::path directory) : directory_(std::move(directory) / "parts") {}

  /// Begins, or goes on where `settings` are those of what is there. `anew` forgets what is there. Throws
  /// core::InputError when another sweep's parts are in the way.
  void open(const nlohmann::ordered_json& settings, bool anew) const;

  /// Throws core::InputError when the part is there and damaged.
  bool contains(const std::string& prompt) const;
  void write(const std::string& prompt, const sim::ReplayResult& result) const;

  /// The tables as CSV, prompts in this order. Empty text: a table without rows.
  struct Merged {
    std::string replay;
    std::string headroom;
    std::string budgets;
    std::string trajectory;
    std::map<std::string, sim::ReplayResult::NoteTotal> notes;
  };
  /// Throws core::InputError when a part is missing or damaged.
  Merged merge(const std::vector<std::string>& prompts) const;

  /// Removes the parts once their tables are written.
  void remove() const;

 private:
  std::filesystem::path path_of(const std::string& prompt) const;
  std::filesystem::path directory_;
};

}  // namespace evictlab::cli
