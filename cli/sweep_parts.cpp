#include "cli/sweep_parts.hpp"

#include <string_view>

#include "cli/outputs.hpp"
#include "core/error.hpp"
#include "core/file.hpp"
#include "trace/io/layout.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::string_view kSettings = "sweep.json";

std::string dumped(const Json& json) { return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n"; }

Json parsed(const fs::path& path) {
  Json json = Json::parse(core::read_text(path), nullptr, false);
  if (json.is_object()) return json;
  throw core::InputError("{}: damaged; remove it and the sweep does that part again", path.string());
}

/// The first of the settings that differs, by name.
std::string difference(const Json& have, const Json& asked) {
  for (const auto& [key, value] : asked.items()) {
    if (!have.contains(key) || have.at(key) != value) return key;
  }
  return {};
}

/// Adds a table to those before it, with the header once.
void append_csv(std::string& all, std::string_view table) {
  const std::size_t header = table.find('\n') + 1;
  all += all.empty() ? table : table.substr(header);
}

}  // namespace

void SweepParts::open(const Json& settings, bool anew) const {
  const fs::path path = directory_ / kSettings;
  if (anew) remove();
  if (fs::exists(path)) {
    const std::string differs = difference(parsed(path), settings);
    if (differs.empty()) return;
    throw core::InputError(
        "{}: holds what a sweep with other settings ({}) finished; give --force to start over, or another --out",
        directory_.string(), differs);
  }
  Outputs::make_parent(path);
  core::write_text(path, dumped(settings));
}

fs::path SweepParts::path_of(const std::string& prompt) const {
  // The name of its part in a trace, which is safe for any id.
  return directory_ / fs::path(trace::layout::part_name(prompt)).replace_extension(".json");
}

bool SweepParts::contains(const std::string& prompt) const {
  const fs::path path = path_of(prompt);
  if (!fs::exists(path)) return false;
  parsed(path);  // a damaged one is said before the others are worked on, not after
  return true;
}

void SweepParts::write(const std::string& prompt, const sim::ReplayResult& result) const {
  Json notes = Json::object();
  for (const auto& [text, total] : result.notes) notes[text] = {{"runs", total.runs}, {"slots", total.slots}};
  const auto csv = [](const analysis::Table& table) { return table.rows() > 0 ? table.to_csv() : std::string(); };
  core::write_text(path_of(prompt), dumped({{"prompt", prompt},
                                            {"replay", csv(result.replay)},
                                            {"headroom", csv(result.headroom)},
                                            {"budgets", csv(result.budgets)},
                                            {"trajectory", csv(result.trajectory)},
                                            {"notes", notes}}));
}

SweepParts::Merged SweepParts::merge(const std::vector<std::string>& prompts) const {
  Merged merged;
  for (const std::string& prompt : prompts) {
    const fs::path path = path_of(prompt);
    const Json part = parsed(path);
    try {
      if (part.at("prompt") != prompt) throw core::InputError("{}: is of another prompt", path.string());
      append_csv(merged.replay, part.at("replay").get<std::string>());
      append_csv(merged.headroom, part.at("headroom").get<std::string>());
      append_csv(merged.budgets, part.at("budgets").get<std::string>());
      append_csv(merged.trajectory, part.at("trajectory").get<std::string>());
      for (const auto& [text, note] : part.at("notes").items()) {
        auto& total = merged.notes[text];
        total.runs += note.at("runs").get<std::size_t>();
        total.slots += note.at("slots").get<double>();
      }
    } catch (const Json::exception&) {
      throw core::InputError("{}: damaged; remove it and the sweep does that part again", path.string());
    }
  }
  return merged;
}

void SweepParts::remove() const {
  std::error_code error;
  fs::remove_all(directory_, error);
  if (error) throw core::InputError("{}: cannot be removed: {}", directory_.string(), error.message());
}

}  // namespace evictlab::cli
