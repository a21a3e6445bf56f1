#include "cli/prompt_parts.hpp"

#include <string_view>

#include "cli/outputs.hpp"
#include "core/error.hpp"
#include "core/file.hpp"
#include "trace/io/layout.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string dumped(const Json& json) { return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n"; }

[[noreturn]] void refuse_damaged(const fs::path& path) {
  throw core::InputError("{}: damaged; remove it and that part is done again", path.string());
}

Json parsed(const fs::path& path) {
  Json json = Json::parse(core::read_text(path), nullptr, false);
  if (!json.is_object()) refuse_damaged(path);
  return json;
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

void PromptParts::open(const Json& settings, bool anew) const {
  const fs::path path = directory_ / (command_ + ".json");
  if (anew) remove();
  if (fs::exists(path)) {
    const std::string differs = difference(parsed(path), settings);
    if (differs.empty()) return;
    throw core::InputError(
        "{}: holds what a {} with other settings ({}) finished; give --force to start over, or another --out",
        directory_.string(), command_, differs);
  }
  if (fs::exists(directory_) && !fs::is_empty(directory_)) {
    throw core::InputError("{}: holds what another command finished; give another --out", directory_.string());
  }
  Outputs::make_parent(path);
  core::write_text(path, dumped(settings));
}

fs::path PromptParts::path_of(const std::string& prompt) const {
  // The name of its part in a trace, which is safe for any id.
  return directory_ / fs::path(trace::layout::part_name(prompt)).replace_extension(".json");
}

bool PromptParts::contains(const std::string& prompt) const {
  const fs::path path = path_of(prompt);
  if (!fs::exists(path)) return false;
  parsed(path);  // a damaged one is said before the others are worked on, not after
  return true;
}

void PromptParts::write(const std::string& prompt, const Part& part) const {
  Json notes = Json::object();
  for (const auto& [text, total] : part.notes) notes[text] = {{"runs", total.runs}, {"slots", total.slots}};
  Json json = {{"prompt", prompt}};
  for (const auto& [name, table] : part.tables) json[name] = table->rows() > 0 ? table->to_csv() : std::string();
  json["notes"] = std::move(notes);
  core::write_text(path_of(prompt), dumped(json));
}

PromptParts::Merged PromptParts::merge(const std::vector<std::string>& prompts) const {
  Merged merged;
  for (const std::string& prompt : prompts) {
    const fs::path path = path_of(prompt);
    const Json part = parsed(path);
    try {
      if (part.at("prompt") != prompt) throw core::InputError("{}: is of another prompt", path.string());
      for (const auto& [name, value] : part.items()) {
        if (name != "prompt" && name != "notes") append_csv(merged.tables[name], value.get<std::string>());
      }
      for (const auto& [text, note] : part.at("notes").items()) {
        auto& total = merged.notes[text];
        total.runs += note.at("runs").get<std::size_t>();
        total.slots += note.at("slots").get<double>();
      }
    } catch (const Json::exception&) {
      refuse_damaged(path);
    }
  }
  return merged;
}

void PromptParts::remove() const {
  std::error_code error;
  fs::remove_all(directory_, error);
  if (error) throw core::InputError("{}: cannot be removed: {}", directory_.string(), error.message());
}

}  // namespace evictlab::cli
