#include "trace/io/settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/json.hpp"
#include "trace/model.hpp"

namespace evictlab::trace {

std::string settings_text(const Settings& settings) {
  return nlohmann::json(settings).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Settings parse_settings(const std::string& text, const std::string& where) {
  const auto document = core::JsonDocument::parse<TraceError>(text, where + ": settings");
  Settings settings;
  for (const core::JsonMember& member : document.root().members()) settings[member.key] = member.value.string();
  return settings;
}

std::string settings_difference(const Settings& there, const Settings& here) {
  for (const auto& [name, value] : there) {
    const auto other = here.find(name);
    if (other == here.end() || other->second == value) continue;
    return fmt::format("{} {} there, {} here", name, value, other->second);
  }
  return {};
}

Settings common_settings(const Settings& a, const Settings& b) {
  Settings common;
  std::ranges::set_intersection(a, b, std::inserter(common, common.end()));
  return common;
}

}  // namespace evictlab::trace
