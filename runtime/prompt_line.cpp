#include "runtime/prompt_line.hpp"

#include <algorithm>
#include <limits>

namespace evictlab::runtime {

using nlohmann::json;

std::string PromptLine::text(const char* key) const {
  if (!has(key)) return {};
  const std::string_view name = key;
  const json& value = line_.at(key);
  if (value.is_number_integer() && (name == "id" || name == "_id" || name == "index")) return value.dump();
  if (!value.is_string()) throw PromptError("{}: \"{}\" must be text, got {}", where_, key, value.type_name());
  return value.get<std::string>();
}

std::vector<std::string> PromptLine::texts(const char* key) const {
  std::vector<std::string> texts;
  if (!has(key)) return texts;
  const json& list = line_.at(key);
  const bool sound = list.is_array() && std::ranges::all_of(list, [](const json& item) { return item.is_string(); });
  if (!sound) throw PromptError("{}: \"{}\" must be a list of texts, got {}", where_, key, list.type_name());
  for (const json& item : list) texts.push_back(item.get<std::string>());
  return texts;
}

std::optional<std::vector<std::int32_t>> PromptLine::token_ids(const char* key) const {
  if (!has(key)) return std::nullopt;
  const json& value = line_.at(key);
  if (!value.is_array()) {
    throw PromptError("{}: \"{}\" must be a list of token ids, got {}", where_, key, value.type_name());
  }
  std::vector<std::int32_t> ids;
  ids.reserve(value.size());
  for (const json& id : value) {
    if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<std::int32_t>::max()) {
      throw PromptError("{}: \"{}\" must hold token ids, got {}", where_, key, id.dump());
    }
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

std::vector<Prompt::Span> PromptLine::spans() const {
  std::vector<Prompt::Span> spans;
  if (!has("spans")) return spans;
  const json& list = line_.at("spans");
  if (!list.is_array()) throw PromptError("{}: \"spans\" must be a list, got {}", where_, list.type_name());
  for (const json& entry : list) {
    const bool sound = entry.is_object() && entry.contains("name") && entry["name"].is_string() &&
                       entry.contains("start") && entry["start"].is_number_integer() && entry.contains("end") &&
                       entry["end"].is_number_integer();
    if (!sound) {
      throw PromptError("{}: a span must be {{\"name\": text, \"start\": number, \"end\": number}}, got {}", where_,
                        entry.dump());
    }
    spans.push_back({entry["name"], entry["start"], entry["end"]});
  }
  return spans;
}

std::optional<double> PromptLine::number(const char* key) const {
  if (!has(key)) return std::nullopt;
  const json& value = line_.at(key);
  if (!value.is_number()) throw PromptError("{}: \"{}\" must be a number, got {}", where_, key, value.type_name());
  return value.get<double>();
}

std::string PromptLine::metric() const {
  if (!has("metric")) return "exact";
  const std::string name = text("metric");
  if (name == "exact" || name == "f1" || name == "rouge-l") return name;
  throw PromptError("{}: \"metric\" must be exact, f1 or rouge-l, got '{}'", where_, name);
}

std::vector<Prompt::Followup> PromptLine::followups() const {
  std::vector<Prompt::Followup> result;
  if (!has("followups")) return result;
  const json& list = line_.at("followups");
  if (!list.is_array()) throw PromptError("{}: \"followups\" must be a list, got {}", where_, list.type_name());
  for (const json& entry : list) {
    if (!entry.is_object()) {
      throw PromptError("{}: a followup must be {{\"prompt\": text, \"answer\": text}}, got {}", where_, entry.dump());
    }
    const PromptLine own(entry, where_ + ", a followup");
    result.push_back({own.text("prompt"), own.text("answer"), own.text("stop")});
    if (result.back().text.empty() || result.back().answer.empty()) {
      throw PromptError("{}: a followup must have \"prompt\" and \"answer\"", where_);
    }
  }
  return result;
}

}  // namespace evictlab::runtime
