#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "results/table.hpp"
#include "sim/replay/replay.hpp"

namespace evictlab::cli {

/// What a command that goes prompt by prompt has finished so far: DIR/parts, with the command's settings and one file
/// per finished prompt, each written whole or not at all. One that was stopped, or one of whose processes died, goes on
/// from there.
class PromptParts {
 public:
  using Notes = std::map<std::string, sim::ReplayResult::NoteTotal>;

  PromptParts(std::filesystem::path directory, std::string command)
      : directory_(std::move(directory) / "parts"), command_(std::move(command)) {}

  /// Begins, or goes on where `settings` are those of what is there. `anew` forgets what is there. Throws
  /// core::InputError when another command's or other settings' parts are in the way.
  void open(const nlohmann::ordered_json& settings, bool anew) const;

  /// Throws core::InputError when the part is there and damaged.
  bool contains(const std::string& prompt) const;

  /// One prompt's tables, by name.
  struct Part {
    std::vector<std::pair<std::string, const results::Table*>> tables;
    Notes notes;
  };
  void write(const std::string& prompt, const Part& part) const;

  /// The tables as CSV, prompts in this order. Empty text: a table without rows.
  struct Merged {
    std::map<std::string, std::string> tables;
    Notes notes;
  };
  /// Throws core::InputError when a part is missing or damaged.
  Merged merge(const std::vector<std::string>& prompts) const;

  /// Removes the parts once their tables are written.
  void remove() const;

 private:
  std::filesystem::path path_of(const std::string& prompt) const;
  std::filesystem::path directory_;
  std::string command_;
};

}  // namespace evictlab::cli
