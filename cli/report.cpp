#include <fmt/format.h>
#include <stdlib.h>

#include <iostream>

#include "cli/options.hpp"
#include "cli/outputs.hpp"
#include "cli/result_tables.hpp"
#include "core/error.hpp"
#include "core/file.hpp"
#include "core/interrupt.hpp"
#include "plots/report/document.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;

/// A directory that is gone, with what it holds, when its owner is.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (fs::temp_directory_path() / "evictlab-report-XXXXXX").string();
    if (!mkdtemp(name.data())) throw core::InputError("{}: cannot make this directory", name);
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::vector<plots::Drawing> drawings(const plots::ResultTables& tables) {
  const TemporaryDirectory directory;
  std::vector<plots::Drawing> drawn;
  for (const plots::Figure& figure : plots::all_figures(tables)) {
    core::throw_if_interrupted();
    plots::draw(figure, directory.path());
    drawn.push_back({figure.name, core::read_text(directory.path() / (figure.name + ".svg"))});
  }
  return drawn;
}

/// What the manifests beside the tables say about the recording, and the commands that made the tables.
void read_manifests(const fs::path& directory, plots::ReportContent& content) {
  for (const char* table : {"analyze", "attention", "replay", "summary"}) {
    const fs::path path = Outputs::manifest_path(directory / (std::string(table) + ".csv"));
    if (!fs::exists(path)) continue;
    const nlohmann::json manifest = nlohmann::json::parse(core::read_text(path), nullptr, false);
    if (!manifest.is_object()) throw core::InputError("{}: not a manifest", path.string());
    if (manifest.contains("command") && manifest["command"].is_string())
      content.commands.push_back(manifest["command"]);
    if (!content.facts.empty()) continue;
    for (const char* name : {"model", "model_fingerprint", "trace", "prompts"}) {
      if (!manifest.contains(name)) continue;
      const nlohmann::json& value = manifest[name];
      content.facts.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
}

}  // namespace

int run_report(const Arguments& arguments) {
  Options options(
      "report", "RESULTS --out FILE [--force]",
      "Writes one HTML page, which loads nothing, from the result tables of replay and analyze: which policy\n"
      "keeps most at each budget and how sure that is, then every figure. What the tables do not hold is left\n"
      "out, with the reason in its place.");
  options.positional("results", "a directory with result tables, or a replay table", Options::Count::kOne);
  options.value("out", "FILE", "", "the page to write");
  options.flag("force", "replace an existing page");
  if (!options.parse(arguments)) return 0;

  const fs::path results = options.path("results");
  const fs::path page = Outputs(options.has("force")).plan(options.path("out"));
  const plots::ResultTables tables = read_result_tables(results);
  plots::ReportContent content{.title = "KV-cache eviction report", .replay = tables.replay};
  read_manifests(fs::is_directory(results) ? results : results.parent_path(), content);
  content.drawings = drawings(tables);
  Outputs::make_parent(page);
  core::write_text(page, plots::report_page(content));
  std::cerr << fmt::format("wrote {}\n", page.string());
  return 0;
}

}  // namespace evictlab::cli
