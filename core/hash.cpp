#include "core/hash.hpp"

#include <fmt/format.h>
#define XXH_INLINE_ALL  // compiled for our processors: the library is for any
#include <xxhash.h>

namespace evictlab::core {
namespace {

std::string hash_text(const XXH128_hash_t& hash) {
  return fmt::format("xxh3-128:{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace

struct ContentHash::State {
  XXH3_state_t hash;
};

ContentHash::ContentHash() : state_(std::make_unique<State>()) { XXH3_128bits_reset(&state_->hash); }
ContentHash::~ContentHash() = default;

void ContentHash::add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(&state_->hash, bytes.data(), bytes.size());
}

std::string ContentHash::text() const { return hash_text(XXH3_128bits_digest(&state_->hash)); }

std::string content_hash(std::span<const std::byte> bytes) {
  return hash_text(XXH3_128bits(bytes.data(), bytes.size()));
}

}  // namespace evictlab::core
