#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trace/io/hdf5/file.hpp"
#include "trace/io/hdf5/handle.hpp"
#include "trace/io/hdf5/text_heap.hpp"

// Attributes by their handles. The caller holds the Lock.

namespace evictlab::trace::hdf5 {

struct Attribute {
  Handle id;
  Handle type;
  std::uint64_t elements;
};

/// Throws TraceError when the attribute is missing or claims more elements than the file has bytes. `object` is the
/// name of `owner`.
Attribute open_attribute(const File& file, const Handle& owner, const std::string& object, const std::string& name);
Attribute open_attribute(const File& file, const std::string& object, const std::string& name);

/// The names of an object's attributes, in byte order.
std::vector<std::string> attribute_names(const File& file, const Handle& owner, const std::string& object);

/// Whether it holds one text, integers (or booleans as h5py stores them), numbers.
bool is_one_text(const Attribute& attribute);
bool is_integers(const Attribute& attribute);
bool is_floats(const Attribute& attribute);
/// The values of an attribute that holds such: `heaps` are those of the file.
std::string read_text(const File& file, const std::string& object, const std::string& name, const Attribute& attribute,
                      TextHeaps& heaps);
template <typename T>  // std::int64_t of integers, double of numbers and integers
std::vector<T> read_values(const File& file, const std::string& object, const std::string& name,
                           const Attribute& attribute);
/// Texts are read past HDF5: writes out what it has not yet.
void flush_texts(const File& file, const std::string& object);
/// Creates the attribute from a value of this datatype and dataspace; replaces one that is there.
void set_attribute(const File& file, const std::string& object, const std::string& name, const Handle& type,
                   const Handle& space, const void* value);

}  // namespace evictlab::trace::hdf5
