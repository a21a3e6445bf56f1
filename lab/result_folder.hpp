#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/file.hpp"
#include "lab/inputs.hpp"
#include "results/table.hpp"

namespace evictlab::lab {

/// The files that a run of a use case leaves: planned before any work is done, written beside the old ones, and put in
/// place together when all are complete. A run that ends before leaves no file, no empty directory, and what was there
/// before as it was.
///
/// The manifest of a run lists its files. It is removed before the first file is put in place and comes back last:
/// files that no manifest lists are of a run that was killed just then, or come from elsewhere.
class ResultFolder {
 public:
  /// `force`: existing files are replaced. `command`: what manifests say the results were made with. `inputs`: what
  /// must not be replaced.
  ResultFolder(bool force, std::string command, Inputs inputs)
      : force_(force), command_(std::move(command)), inputs_(std::move(inputs)) {}
  ~ResultFolder();
  ResultFolder(const ResultFolder&) = delete;
  ResultFolder& operator=(const ResultFolder&) = delete;

  /// Announces a file; makes its directory; returns its path. Throws core::InputError when the file exists and may not
  /// be replaced, is an input, is announced already, belongs to another run, or cannot be written.
  std::filesystem::path plan(const std::filesystem::path& path);
  /// Announces the manifest beside a table, and thereby that `table` names the run.
  void plan_manifest(const std::filesystem::path& table);

  /// Writes a planned file beside its place. Throws core::InputError.
  void write(const std::filesystem::path& path, std::string_view content);
  void write_table(const std::filesystem::path& path, const results::Table& table) { write(path, table.to_csv()); }
  /// "<table's stem>.manifest.json" beside a table: program version, command line, what `details` adds, and the names
  /// of the files written so far and since the last manifest.
  void write_manifest(const std::filesystem::path& table, const nlohmann::ordered_json& details);

  /// Puts all files in place, and removes those of the run that is replaced which this one did not write.
  void commit();

  static std::filesystem::path manifest_path(const std::filesystem::path& table);

 private:
  void refuse_files_of_other_runs(const std::filesystem::path& path) const;

  bool force_;
  std::string command_;
  Inputs inputs_;
  core::MadeDirectories made_;
  std::vector<std::filesystem::path> planned_ = {};
  std::vector<std::filesystem::path> manifests_ = {};
  std::vector<std::filesystem::path> written_ = {};  // in their temporary places
  std::size_t listed_ = 0;                           // of written_, in manifests
};

/// The files that a manifest lists, empty where it lists none or is none. Throws core::InputError when it cannot be
/// read.
std::vector<std::filesystem::path> manifest_files(const std::filesystem::path& manifest);

/// Those of `files`, all in one directory, that no manifest beside them lists; empty where a manifest is of a version
/// that listed none.
std::vector<std::filesystem::path> unlisted_files(const std::vector<std::filesystem::path>& files);

/// JSON as files have it: names from outside may hold any bytes.
std::string json_text(const nlohmann::ordered_json& json, int indent);

}  // namespace evictlab::lab
