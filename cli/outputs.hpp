#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <vector>

#include "results/table.hpp"

namespace evictlab::cli {

/// The files a command makes: refused before any work is done when one exists (without --force) or cannot
/// be made, and written whole or not at all.
class Outputs {
 public:
  explicit Outputs(bool force) : force_(force) {}

  /// Announces a file; returns its path. Throws core::InputError when it is in the way of nothing being overwritten.
  std::filesystem::path plan(const std::filesystem::path& path) const;

  void write_table(const std::filesystem::path& path, const results::Table& table) const;
  /// "<table's stem>.manifest.json" beside a table: program version, command line and what `details` adds.
  void write_manifest(const std::filesystem::path& table, nlohmann::ordered_json details) const;
  static std::filesystem::path manifest_path(const std::filesystem::path& table);
  /// Makes the directory a file is to lie in.
  static void make_parent(const std::filesystem::path& path);

 private:
  bool force_;
};

}  // namespace evictlab::cli
