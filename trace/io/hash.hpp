#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace evictlab::trace {

/// "xxh3-128:<32 hexadecimal digits>": XXH3 with 128 bits of the bytes, as Python's
/// xxhash.xxh3_128_hexdigest prints it.
std::string content_hash(std::span<const std::byte> bytes);

}  // namespace evictlab::trace
