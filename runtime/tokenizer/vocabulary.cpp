#include "runtime/tokenizer/vocabulary.hpp"

#include <algorithm>

#include "runtime/tokenizer/error.hpp"

namespace evictlab::runtime {

Vocabulary::Vocabulary(const core::JsonNode& vocab) {
  const std::vector<core::JsonMember> entries = vocab.members();
  std::vector<std::int32_t> ids;
  ids.reserve(entries.size());
  for (const auto& [token, id] : entries) ids.push_back(static_cast<std::int32_t>(id.integer(0, kMaxTokenId)));
  if (!ids.empty()) tokens_.resize(static_cast<std::size_t>(*std::ranges::max_element(ids)) + 1);
  ids_.reserve(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::string& token = entries[i].key;
    std::optional<std::string>& slot = tokens_[static_cast<std::size_t>(ids[i])];
    if (slot) vocab.fail("tokens {} and {} both have the id {}", core::quote(*slot), core::quote(token), ids[i]);
    slot = token;
    ids_.emplace(*slot, ids[i]);
  }
}

Vocabulary::Vocabulary(std::span<const std::string_view> tokens) : tokens_(tokens.begin(), tokens.end()) {
  ids_.reserve(tokens.size());
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    ids_.insert_or_assign(std::string_view(*tokens_[id]), static_cast<std::int32_t>(id));
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
