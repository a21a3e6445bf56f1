#pragma once

#include <cstdint>
#include <string>

#include "trace/io/hdf5/file.hpp"
#include "trace/io/hdf5/handle.hpp"

// Attributes by their handles. The caller holds the Lock.

namespace evictlab::trace::hdf5 {

struct Attribute {
  Handle owner;
  Handle id;
  Handle type;
  std::uint64_t elements;
};

/// Throws TraceError when the attribute is missing or claims more elements than the file has bytes.
Attribute open_attribute(const File& file, const std::string& object, const std::string& name);
/// Creates the attribute from a value of this datatype and dataspace; replaces one that is there.
void set_attribute(const File& file, const std::string& object, const std::string& name, const Handle& type,
                   const Handle& space, const void* value);

}  // namespace evictlab::trace::hdf5
