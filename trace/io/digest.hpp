#pragma once

#include <string>

#include "trace/io/hdf5/file.hpp"

// Every group of a trace carries a digest of what is in it (docs/trace-format.md): attributes, names, shapes and types,
// the datasets' hashes, and the digests of the groups in it. So every byte that reaches a result is under a hash:
// elements under their dataset's, everything else under its group's, and groups under the root's.

namespace evictlab::trace {

/// The name of the attribute.
inline constexpr const char* kDigest = "digest";

/// The digest that a group's content gives. Those of the groups in it are taken as they are stored.
std::string group_digest(const hdf5::File& file, const std::string& group);

/// Throws TraceError when a group of version 1 has a hash of its texts and they do not have it.
void require_texts_hash(const hdf5::File& file, const std::string& group);

/// Throws TraceError unless the group carries the digest that its content gives.
void require_digest(const hdf5::File& file, const std::string& group);
/// The same for the groups in it as well.
void require_digests(const hdf5::File& file, const std::string& group);

/// Stores a group's digest; those of the groups in it are there.
void seal_group(hdf5::File& file, const std::string& group);
/// Stores the digests of the groups in it, then its own.
void seal_groups(hdf5::File& file, const std::string& group);

}  // namespace evictlab::trace
