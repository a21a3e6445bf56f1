#include "runtime/tokenizer/vocabulary.hpp"

#include <algorithm>

namespace evictlab::runtime {

Vocabulary::Vocabulary(const JsonNode& vocab) {
  const nlohmann::json& entries = vocab.object();
  std::int64_t largest = -1;
  for (const auto& [token, id] : entries.items()) {
    if (!id.is_number_integer() || id < 0 || id > kMaxTokenId) {
      vocab.fail("token {} has the id {}; expected a whole number from 0 to {}", shown(token), shown(id.dump()),
                 kMaxTokenId);
    }
    largest = std::max(largest, id.get<std::int64_t>());
  }
  tokens_.resize(static_cast<std::size_t>(largest + 1));
  ids_.reserve(entries.size());
  for (const auto& [token, value] : entries.items()) {
    const auto id = value.get<std::int32_t>();
    std::optional<std::string>& slot = tokens_[static_cast<std::size_t>(id)];
    if (slot) vocab.fail("tokens {} and {} both have the id {}", shown(*slot), shown(token), id);
    slot = token;
    ids_.emplace(*slot, id);
  }
}

std::optional<std::int32_t> Vocabulary::id(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::token(std::int32_t id) const {
  if (id < 0 || id >= id_limit()) return nullptr;
  const auto& token = tokens_[static_cast<std::size_t>(id)];
  return token ? &*token : nullptr;
}

}  // namespace evictlab::runtime
