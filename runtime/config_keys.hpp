#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "runtime/model_error.hpp"
#include "trace/tensor.hpp"

namespace evictlab::runtime {

// Far beyond any model, small enough that no product of two sizes overflows.
inline constexpr std::int64_t kMostLayers = 10'000;
inline constexpr std::int64_t kLargestSize = 1 << 24;
inline constexpr std::int64_t kMostPositions = 1 << 30;

/// Typed access to the keys of a JSON object, which must outlive it; null counts as absent. What has the wrong type or
/// is out of range throws ModelError in one line that names file and key.
class ConfigKeys {
 public:
  ConfigKeys(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  /// Also when its value is null.
  bool mentions(const char* key) const { return object_.contains(key); }
  const nlohmann::json* find(const char* key) const;

  std::optional<trace::Index> optional_size(const char* key, std::int64_t most, std::int64_t least = 1) const;
  trace::Index size(const char* key, std::int64_t most) const;
  std::optional<double> optional_positive(const char* key) const;
  double positive(const char* key) const;
  bool flag(const char* key, bool otherwise = false) const;
  std::optional<std::string> text(const char* key) const;
  std::optional<ConfigKeys> object(const char* key) const;

  ModelError wrong_type(const char* key, const char* expected, const nlohmann::json& value) const;

 private:
  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace evictlab::runtime
