#include "lab/result_folder.hpp"

#include <unistd.h>

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/version.hpp"

namespace evictlab::lab {

namespace fs = std::filesystem;

fs::path ResultFolder::plan(const fs::path& path) const {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) throw core::InputError("{}: is a directory; give the name of a file", path.string());
  if (fs::exists(status) && !force_) {
    throw core::InputError("{}: exists; give --force to replace it or another --out", path.string());
  }
  fs::path parent = fs::absolute(path).parent_path();
  while (!fs::exists(fs::status(parent, error)) && parent != parent.parent_path()) parent = parent.parent_path();
  if (!fs::is_directory(fs::status(parent, error))) {
    throw core::InputError("{}: {} is not a directory", path.string(), parent.string());
  }
  if (access(parent.c_str(), W_OK) != 0) {
    throw core::InputError("{}: the directory {} cannot be written to", path.string(), parent.string());
  }
  return path;
}

void ResultFolder::plan_directory(const fs::path& path) {
  if (fs::exists(path) && !fs::is_directory(path)) throw core::InputError("{}: is not a directory", path.string());
}

void ResultFolder::make_parent(const fs::path& path) {
  const fs::path parent = path.parent_path();
  if (parent.empty()) return;
  std::error_code error;
  fs::create_directories(parent, error);
  if (error) throw core::InputError("{}: cannot make this directory: {}", parent.string(), error.message());
}

void ResultFolder::write_table(const fs::path& path, const results::Table& table) {
  make_parent(path);
  core::write_text(path, table.to_csv());
}

fs::path ResultFolder::manifest_path(const fs::path& table) {
  return table.parent_path() / (table.stem().string() + ".manifest.json");
}

void ResultFolder::write_manifest(const fs::path& table, const nlohmann::ordered_json& details) const {
  nlohmann::ordered_json manifest;
  manifest["evictlab"] = core::version();
  manifest["command"] = command_;
  manifest.update(details);
  make_parent(table);
  core::write_text(manifest_path(table), json_text(manifest, 2));
}

std::string json_text(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace evictlab::lab
