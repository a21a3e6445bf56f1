#pragma once

#include <optional>
#include <string_view>

namespace evictlab::results {

/// How a policy takes part in a comparison; the column `role` of every run table.
enum class Role {
  kMethod,   // competes
  kControl,  // what a method must beat: random, protect-only
  kCeiling   // not to be beaten: the full cache, and whatever reads the future
};

/// "method", "control", "ceiling".
constexpr std::string_view role_name(Role role) {
  return role == Role::kMethod ? "method" : role == Role::kControl ? "control" : "ceiling";
}

/// The role of this name; nothing for any other text.
constexpr std::optional<Role> role_of(std::string_view name) {
  for (const Role role : {Role::kMethod, Role::kControl, Role::kCeiling}) {
    if (role_name(role) == name) return role;
  }
  return std::nullopt;
}

}  // namespace evictlab::results
