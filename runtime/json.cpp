#include "runtime/json.hpp"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/file.hpp"
#include "runtime/model_error.hpp"

namespace evictlab::runtime {

nlohmann::json parse_object(std::string_view text, std::string_view where) {
  using nlohmann::json;
  // What is read by recursion later, or printed into a message, must not be nested without bounds.
  constexpr int kMaxDepth = 64;
  std::vector<std::set<std::string>> open_objects;
  const auto guard = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kMaxDepth) throw ModelError("{}: nested more than {} deep", where, kMaxDepth);
    if (event == json::parse_event_t::object_start) {
      open_objects.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      open_objects.pop_back();
    } else if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!open_objects.back().insert(key).second) throw ModelError("{}: the name '{}' occurs twice", where, key);
    }
    return true;
  };
  json object;
  try {
    object = json::parse(text, guard);
  } catch (const json::exception& error) {
    const auto* parse_error = dynamic_cast<const json::parse_error*>(&error);
    throw ModelError("{}: not valid JSON{}", where,
                     parse_error != nullptr ? fmt::format(" (at byte {})", parse_error->byte) : "");
  }
  if (!object.is_object()) throw ModelError("{}: a JSON {}, expected an object", where, object.type_name());
  return object;
}

nlohmann::json read_object(const std::filesystem::path& path) {
  return parse_object(core::read_text(path), path.string());
}

}  // namespace evictlab::runtime
