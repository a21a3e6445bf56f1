#include "lab/result_folder.hpp"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>
#include <stdexcept>

#include "core/error.hpp"
#include "core/version.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kManifestEnd = ".manifest.json";

/// One spelling for each place, whether a file is there or not; its directory is.
fs::path place_of(const fs::path& path) {
  return fs::weakly_canonical(fs::absolute(path).parent_path()) / path.filename();
}

/// What a manifest lists; none where it lists nothing, or is no manifest.
std::optional<std::vector<fs::path>> listed_files(const fs::path& manifest) {
  const auto json = nlohmann::json::parse(core::read_text(manifest), nullptr, false);
  if (!json.is_object() || !json.contains("files") || !json["files"].is_array()) return std::nullopt;
  std::vector<fs::path> files;
  for (const auto& name : json["files"]) {
    if (!name.is_string()) return std::nullopt;
    // Names alone: a manifest says nothing of files elsewhere.
    files.push_back(manifest.parent_path() / fs::path(name.get<std::string>()).filename());
  }
  return files;
}

std::vector<fs::path> manifests_in(const fs::path& directory) {
  std::vector<fs::path> manifests;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory.empty() ? "." : directory, error)) {
    if (entry.path().filename().string().ends_with(kManifestEnd)) manifests.push_back(entry.path());
  }
  std::ranges::sort(manifests);
  return manifests;
}

}  // namespace

ResultFolder::~ResultFolder() {
  for (const fs::path& path : written_) unlink(core::temporary_path(path).c_str());
}

fs::path ResultFolder::plan(const fs::path& path) {
  made_.make(path.parent_path());
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status) || !path.has_filename()) {
    throw core::InputError("{}: is a directory; give the name of a file", path.string());
  }
  inputs_.refuse(path);
  if (fs::exists(status) && !force_) {
    throw core::InputError("{}: exists; give --force to replace it or another --out", path.string());
  }
  const fs::path place = place_of(path);
  if (access(place.parent_path().c_str(), W_OK) != 0) {
    throw core::InputError("{}: the directory {} cannot be written to", path.string(), place.parent_path().string());
  }
  if (std::ranges::find(planned_, place) != planned_.end()) {
    throw core::InputError("{}: would be written twice; give another name", path.string());
  }
  if (fs::exists(status)) refuse_files_of_other_runs(path);
  planned_.push_back(place);
  return path;
}

void ResultFolder::plan_manifest(const fs::path& table) {
  const fs::path manifest = manifest_path(table);
  manifests_.push_back(manifest);
  plan(manifest);
}

void ResultFolder::refuse_files_of_other_runs(const fs::path& path) const {
  const fs::path place = place_of(path);
  for (const fs::path& manifest : manifests_in(path.parent_path())) {
    const auto is_manifest = [&](const fs::path& own) { return place_of(own) == place_of(manifest); };
    if (std::ranges::any_of(manifests_, is_manifest)) continue;
    const std::vector<fs::path> files = manifest_files(manifest);
    if (std::ranges::none_of(files, [&](const fs::path& file) { return place_of(file) == place; })) continue;
    throw core::InputError("{}: belongs to another run, whose manifest is {}; give each run a folder of its own",
                           path.string(), manifest.string());
  }
}

void ResultFolder::write(const fs::path& path, std::string_view content) {
  if (std::ranges::find(planned_, place_of(path)) == planned_.end()) {
    throw std::logic_error("file " + path.string() + " is written without a plan");
  }
  core::write_temporary(path, content);
  written_.push_back(path);
}

void ResultFolder::write_manifest(const fs::path& table, const nlohmann::ordered_json& details) {
  nlohmann::ordered_json manifest;
  manifest["evictlab"] = core::version();
  manifest["command"] = command_;
  manifest.update(details);
  manifest["files"] = nlohmann::ordered_json::array();
  for (; listed_ < written_.size(); ++listed_) manifest["files"].push_back(written_[listed_].filename().string());
  write(manifest_path(table), json_text(manifest, 2));
  ++listed_;
}

void ResultFolder::commit() {
  std::set<fs::path> places;
  for (const fs::path& path : written_) places.insert(place_of(path));
  std::vector<fs::path> outdated;
  for (const fs::path& manifest : manifests_) {
    if (!fs::exists(manifest)) continue;
    for (const fs::path& file : manifest_files(manifest)) {
      if (!places.contains(place_of(file)) && !inputs_.contain(file)) outdated.push_back(file);
    }
    fs::remove(manifest);
    core::sync_path(place_of(manifest).parent_path());
  }
  const auto is_manifest = [](const fs::path& path) { return path.filename().string().ends_with(kManifestEnd); };
  std::ranges::stable_partition(written_, [&](const fs::path& path) { return !is_manifest(path); });
  for (const fs::path& path : written_) {
    if (is_manifest(path)) {
      for (const fs::path& file : outdated) fs::remove(file);
      outdated.clear();
    }
    core::rename_durably(core::temporary_path(path), path);
  }
  written_.clear();
  listed_ = 0;
}

fs::path ResultFolder::manifest_path(const fs::path& table) {
  return table.parent_path() / (table.stem().string() + std::string(kManifestEnd));
}

std::vector<fs::path> manifest_files(const fs::path& manifest) {
  return listed_files(manifest).value_or(std::vector<fs::path>());
}

std::vector<fs::path> unlisted_files(const std::vector<fs::path>& files) {
  std::set<fs::path> listed;
  for (const fs::path& manifest : files.empty() ? std::vector<fs::path>() : manifests_in(files.front().parent_path())) {
    const auto list = listed_files(manifest);
    if (!list) return {};
    for (const fs::path& file : *list) listed.insert(place_of(file));
  }
  std::vector<fs::path> unlisted;
  std::ranges::copy_if(files, std::back_inserter(unlisted),
                       [&](const fs::path& file) { return !listed.contains(place_of(file)); });
  return unlisted;
}

std::string json_text(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace evictlab::lab
