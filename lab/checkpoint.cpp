#include "lab/checkpoint.hpp"

#include <string_view>

#include "core/error.hpp"
#include "core/file.hpp"
#include "lab/result_folder.hpp"
#include "trace/io/layout.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse_damaged_part(const fs::path& path) {
  throw core::InputError("{}: damaged; remove it and that part is done again", path.string());
}

nlohmann::ordered_json parsed_part(const fs::path& path) {
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(core::read_text(path), nullptr, false);
  if (!json.is_object()) refuse_damaged_part(path);
  return json;
}

/// The first of the settings that differs, by name.
std::string differing_setting(const nlohmann::ordered_json& have, const nlohmann::ordered_json& wanted) {
  for (const auto& [key, value] : wanted.items()) {
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

PromptCheckpoint::PromptCheckpoint(std::optional<fs::path> directory, std::string use_case)
    : directory_(std::move(directory)), use_case_(std::move(use_case)) {
  if (directory_) *directory_ /= "parts";
}

void PromptCheckpoint::open(const nlohmann::ordered_json& settings, bool restart) {
  if (!directory_) return;
  const fs::path path = *directory_ / (use_case_ + ".json");
  if (restart) remove();
  if (fs::exists(path)) {
    const std::string differs = differing_setting(parsed_part(path), settings);
    if (differs.empty()) return;
    throw core::InputError(
        "{}: holds what a {} with other settings ({}) finished; give --force to start over, or another --out",
        directory_->string(), use_case_, differs);
  }
  if (fs::exists(*directory_) && !fs::is_empty(*directory_)) {
    throw core::InputError("{}: holds what another command finished; give another --out", directory_->string());
  }
  ResultFolder::make_parent(path);
  core::write_text(path, json_text(settings, 1));
}

fs::path PromptCheckpoint::path_of(const std::string& prompt) const {
  // The name of its part in a trace, which is safe for any id.
  return directory_.value_or("memory") / fs::path(trace::layout::part_name(prompt)).replace_extension(".json");
}

bool PromptCheckpoint::contains(const std::string& prompt) const {
  if (!directory_) return in_memory_.contains(prompt);
  const fs::path path = path_of(prompt);
  if (!fs::exists(path)) return false;
  parsed_part(path);  // a damaged one is reported before the others are worked on, not after
  return true;
}

void PromptCheckpoint::write(const std::string& prompt, const Part& part) {
  nlohmann::ordered_json notes = nlohmann::ordered_json::object();
  for (const auto& [text, total] : part.notes) notes[text] = {{"runs", total.runs}, {"slots", total.slots}};
  nlohmann::ordered_json json = {{"prompt", prompt}};
  for (const auto& [name, table] : part.tables) json[name] = table->rows() > 0 ? table->to_csv() : std::string();
  json["notes"] = std::move(notes);
  if (directory_) {
    core::write_text(path_of(prompt), json_text(json, 1));
  } else {
    in_memory_[prompt] = std::move(json);
  }
}

nlohmann::ordered_json PromptCheckpoint::part_of(const std::string& prompt) const {
  return directory_ ? parsed_part(path_of(prompt)) : in_memory_.at(prompt);
}

PromptCheckpoint::Merged PromptCheckpoint::merge(const std::vector<std::string>& prompts) const {
  Merged merged;
  for (const std::string& prompt : prompts) {
    const nlohmann::ordered_json part = part_of(prompt);
    try {
      if (part.at("prompt") != prompt) throw core::InputError("{}: is of another prompt", path_of(prompt).string());
      for (const auto& [name, value] : part.items()) {
        if (name != "prompt" && name != "notes") append_csv(merged.tables[name], value.get<std::string>());
      }
      for (const auto& [text, note] : part.at("notes").items()) {
        auto& total = merged.notes[text];
        total.runs += note.at("runs").get<std::size_t>();
        total.slots += note.at("slots").get<double>();
      }
    } catch (const nlohmann::ordered_json::exception&) {
      refuse_damaged_part(path_of(prompt));
    }
  }
  return merged;
}

void PromptCheckpoint::remove() {
  in_memory_.clear();
  if (!directory_) return;
  std::error_code error;
  fs::remove_all(*directory_, error);
  if (error) throw core::InputError("{}: cannot be removed: {}", directory_->string(), error.message());
}

}  // namespace evictlab::lab
