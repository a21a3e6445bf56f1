#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/file.hpp"
#include "results/table.hpp"
#include "sim/replay/replay.hpp"

namespace evictlab::lab {

/// Keeps the finished prompts of a use case: DIR/parts holds its settings and one file per finished prompt, each
/// written whole or not at all. A run that was interrupted, or one of whose processes died, resumes from there. Without
/// a directory finished prompts are kept in memory.
class PromptCheckpoint {
 public:
  using Notes = std::map<std::string, sim::ReplayResult::NoteTotal>;

  PromptCheckpoint(std::optional<std::filesystem::path> directory, std::string use_case);

  /// Begins, or resumes where `settings` are those of what is there; `restart` forgets what others left there. Throws
  /// core::InputError when the parts of another use case or of other settings are in the way, or when another process
  /// is at work there.
  void open(const nlohmann::ordered_json& settings, bool restart);

  /// Throws core::InputError when the part is there and damaged.
  bool contains(const std::string& prompt) const;

  /// One prompt's tables, by name.
  struct Part {
    std::vector<std::pair<std::string, const results::Table*>> tables;
    Notes notes;
  };
  void write(const std::string& prompt, const Part& part);

  /// The tables as CSV, by name. Empty text: a table without rows.
  struct Merged {
    std::map<std::string, std::string> tables;
    Notes notes;
  };
  /// The tables of prompts in this order. Throws core::InputError when a part is missing or damaged.
  Merged merge(const std::vector<std::string>& prompts) const;

  /// Removes the parts, once their tables are written.
  void remove();

  /// Where the parts lie; none when they are in memory.
  const std::optional<std::filesystem::path>& directory() const { return directory_; }

 private:
  std::filesystem::path path_of(const std::string& prompt) const;
  Merged read_part(const std::string& prompt) const;

  void remove_files() const;

  core::MadeDirectories made_;
  core::DirectoryLock lock_;
  std::optional<std::filesystem::path> directory_;
  std::string use_case_;
  std::map<std::string, Merged> in_memory_;  // by prompt
};

}  // namespace evictlab::lab
