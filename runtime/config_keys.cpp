#include "runtime/config_keys.hpp"

#include <cmath>

namespace evictlab::runtime {

using nlohmann::json;
using trace::Index;

const json* ConfigKeys::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<Index> ConfigKeys::optional_size(const char* key, std::int64_t most, std::int64_t least) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) throw wrong_type(key, "a whole number", *value);
  const bool in_range = value->is_number_unsigned() &&
                        value->get<std::uint64_t>() >= static_cast<std::uint64_t>(least) &&
                        value->get<std::uint64_t>() <= static_cast<std::uint64_t>(most);
  if (!in_range) throw ModelError("{}: {} is {}, expected {}..{}", where_, key, value->dump(), least, most);
  return value->get<Index>();
}

Index ConfigKeys::size(const char* key, std::int64_t most) const {
  const auto value = optional_size(key, most);
  if (!value) throw ModelError("{}: {} is missing", where_, key);
  return *value;
}

std::optional<double> ConfigKeys::optional_positive(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) throw wrong_type(key, "a number", *value);
  const auto number = value->get<double>();
  if (!(number > 0) || !std::isfinite(number)) {
    throw ModelError("{}: {} is {}, expected a number above 0", where_, key, value->dump());
  }
  return number;
}

double ConfigKeys::positive(const char* key) const {
  const auto value = optional_positive(key);
  if (!value) throw ModelError("{}: {} is missing", where_, key);
  return *value;
}

bool ConfigKeys::flag(const char* key, bool otherwise) const {
  const json* value = find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) throw wrong_type(key, "true or false", *value);
  return value->get<bool>();
}

std::optional<std::string> ConfigKeys::text(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) throw wrong_type(key, "a string", *value);
  return value->get<std::string>();
}

std::optional<ConfigKeys> ConfigKeys::object(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) throw wrong_type(key, "an object", *value);
  return ConfigKeys(*value, fmt::format("{}: {}", where_, key));
}

ModelError ConfigKeys::wrong_type(const char* key, const char* expected, const json& value) const {
  return ModelError("{}: {} is a JSON {}, expected {}", where_, key, value.type_name(), expected);
}

}  // namespace evictlab::runtime
