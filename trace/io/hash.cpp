#include "trace/io/hash.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <new>

namespace evictlab::trace {
namespace {

std::string hash_text(const XXH128_hash_t& hash) {
  return fmt::format("xxh3-128:{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace

void ContentHash::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

ContentHash::ContentHash() : state_(XXH3_createState()) {
  if (!state_) throw std::bad_alloc();
  XXH3_128bits_reset(state_.get());
}

void ContentHash::add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
}

std::string ContentHash::text() const { return hash_text(XXH3_128bits_digest(state_.get())); }

std::string content_hash(std::span<const std::byte> bytes) {
  return hash_text(XXH3_128bits(bytes.data(), bytes.size()));
}

}  // namespace evictlab::trace
