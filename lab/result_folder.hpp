#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <utility>

#include "results/table.hpp"

namespace evictlab::lab {

/// Plans and writes the files of a use case: refuses, before any work is done, a file that exists (unless it may be
/// replaced) or cannot be written, and writes each one whole or not at all.
class ResultFolder {
 public:
  /// `force`: existing files are replaced. `command`: what manifests say the results were made with.
  ResultFolder(bool force, std::string command) : force_(force), command_(std::move(command)) {}

  /// Announces a file; returns its path. Throws core::InputError when the file exists and may not be replaced, or
  /// cannot be written.
  std::filesystem::path plan(const std::filesystem::path& path) const;

  /// Announces the folder that files are planned in. Throws core::InputError when it is a file.
  static void plan_directory(const std::filesystem::path& path);

  static void write_table(const std::filesystem::path& path, const results::Table& table);
  /// "<table's stem>.manifest.json" beside a table: program version, command line and what `details` adds.
  void write_manifest(const std::filesystem::path& table, const nlohmann::ordered_json& details) const;
  static std::filesystem::path manifest_path(const std::filesystem::path& table);
  /// Makes the directory a file is to lie in.
  static void make_parent(const std::filesystem::path& path);

 private:
  bool force_;
  std::string command_;
};

/// JSON as files have it: names from outside may hold any bytes.
std::string json_text(const nlohmann::ordered_json& json, int indent);

}  // namespace evictlab::lab
