#pragma once

#include <cstddef>
#include <cstdint>

#include "trace/io/hdf5/file.hpp"
#include "trace/io/hdf5/handle.hpp"

// HDF5's datatypes for ours, as this folder stores them: little-endian.

namespace evictlab::trace::hdf5 {

/// The datatype of numbers of this type; throws std::invalid_argument for any other.
Handle stored_type(Type type);
/// A UTF-8 text of this many bytes, padded with NUL.
Handle text_type(std::size_t bytes);
/// A UTF-8 text of variable length.
Handle variable_text_type();
/// The opaque datatype that a text of variable length is converted to as the reference that the file holds
/// (TextReference): HDF5 1.10 crashes when it follows such a reference into a damaged heap.
Handle reference_type();
/// kOther for numbers that are not stored exactly as stored_type() has them, byte order and bit layout included.
Type type_of(std::int64_t datatype);

}  // namespace evictlab::trace::hdf5
