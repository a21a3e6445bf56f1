#include "lab/checkpoint.hpp"

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/json.hpp"
#include "lab/result_folder.hpp"
#include "trace/io/layout.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;

class DamagedPart final : public core::InputError {
 public:
  explicit DamagedPart(const std::string& message)
      : core::InputError("{}: damaged; remove it and that part is done again", message) {}
};

core::JsonDocument parsed_part(const fs::path& path) {
  core::JsonDocument document = core::JsonDocument::read<DamagedPart>(path);
  if (!document.root().is_object()) document.root().fail_kind("an object");
  return document;
}

/// The first of the settings that differs, by name.
std::string differing_setting(const nlohmann::json& have, const nlohmann::ordered_json& wanted) {
  for (const auto& [key, value] : wanted.items()) {
    if (!have.contains(key) || have.at(key) != nlohmann::json(value)) return key;
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
  made_.make(*directory_);
  if (!lock_.try_lock(*directory_)) {
    throw core::InputError("{}: another {} is at work there; give another --out", directory_->string(), use_case_);
  }
  const fs::path path = *directory_ / (use_case_ + ".json");
  if (fs::exists(path)) {
    const std::string differs = differing_setting(parsed_part(path).root().value(), settings);
    if (differs.empty()) return;
    if (!restart) {
      throw core::InputError(
          "{}: holds what a {} with other settings ({}) finished; give --force to start over, or another --out",
          directory_->string(), use_case_, differs);
    }
  }
  if (restart) remove_files();
  if (!fs::is_empty(*directory_)) {
    throw core::InputError("{}: holds what another command finished; give another --out", directory_->string());
  }
  core::write_text(path, json_text(settings, 1));
}

void PromptCheckpoint::remove_files() const {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(*directory_)) {
    if (entry.path().extension() == ".json" || entry.path().extension() == ".tmp") fs::remove(entry.path(), error);
    if (error) throw core::InputError("{}: cannot be removed: {}", entry.path().string(), error.message());
  }
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
  Merged stored{.tables = {}, .notes = part.notes};
  for (const auto& [name, table] : part.tables) stored.tables[name] = table->rows() > 0 ? table->to_csv() : "";
  if (!directory_) {
    in_memory_[prompt] = std::move(stored);
    return;
  }
  nlohmann::ordered_json json = {{"prompt", prompt}};
  for (auto& [name, csv] : stored.tables) json[name] = std::move(csv);
  json["notes"] = nlohmann::ordered_json::object();
  for (const auto& [text, total] : part.notes) json["notes"][text] = {{"runs", total.runs}, {"slots", total.slots}};
  core::write_text(path_of(prompt), json_text(json, 1));
}

PromptCheckpoint::Merged PromptCheckpoint::read_part(const std::string& prompt) const {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const core::JsonDocument document = parsed_part(path_of(prompt));
  const core::JsonNode part = document.root();
  if (part.at("prompt").string() != prompt) {
    throw core::InputError("{}: is of another prompt", path_of(prompt).string());
  }
  Merged read;
  for (const core::JsonMember& member : part.members()) {
    if (member.key != "prompt" && member.key != "notes") read.tables[member.key] = member.value.string();
  }
  for (const core::JsonMember& note : part.at("notes").members()) {
    read.notes[note.key] = {static_cast<std::size_t>(note.value.at("runs").integer(0, kMost)),
                            note.value.at("slots").number()};
  }
  return read;
}

PromptCheckpoint::Merged PromptCheckpoint::merge(const std::vector<std::string>& prompts) const {
  Merged merged;
  for (const std::string& prompt : prompts) {
    const Merged part = directory_ ? read_part(prompt) : in_memory_.at(prompt);
    for (const auto& [name, csv] : part.tables) append_csv(merged.tables[name], csv);
    for (const auto& [text, total] : part.notes) {
      merged.notes[text].runs += total.runs;
      merged.notes[text].slots += total.slots;
    }
  }
  return merged;
}

void PromptCheckpoint::remove() {
  in_memory_.clear();
  if (!directory_ || !fs::exists(*directory_)) return;
  remove_files();
  std::error_code ignored;  // files of others stay
  fs::remove(*directory_, ignored);
  lock_.release();
}

}  // namespace evictlab::lab
