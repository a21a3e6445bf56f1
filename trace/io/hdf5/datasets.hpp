#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "trace/io/hdf5/file.hpp"
#include "trace/io/hdf5/handle.hpp"

// Datasets by their handles. The caller holds the Lock.

namespace evictlab::trace::hdf5 {

/// Throws TraceError when the object is missing or no dataset.
Handle open_dataset(const File& file, const std::string& object);
/// Describes a dataset; throws TraceError when the file cannot hold its elements.
Dataset inspect(const File& file, const Handle& set, const std::string& object);
/// Creates a contiguous dataset of this datatype and dataspace and writes its elements.
void write_elements(const File& file, const std::string& object, const Handle& type, const Handle& space,
                    std::span<const std::byte> elements);

}  // namespace evictlab::trace::hdf5
