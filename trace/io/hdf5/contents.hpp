#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "trace/io/hdf5/file.hpp"

namespace evictlab::trace::hdf5 {

/// An attribute by its value, however it is stored.
struct AttributeContents {
  enum class Kind { kText, kIntegers, kNumbers, kOther };
  std::string name;
  Kind kind = Kind::kOther;
  std::string value;  // a text; int64s or float64s, little-endian; nothing of another kind
};

/// What a group has in it: a dataset, or a group, which is not looked into.
struct MemberContents {
  std::string name;
  bool is_group = false;
  std::string group_text = {};  // of a group
  Dataset dataset = {};
  std::vector<AttributeContents> attributes = {};  // of a dataset
};

/// A group's attributes and members, each in byte order of their names.
struct GroupContents {
  std::vector<AttributeContents> attributes;
  std::vector<MemberContents> members;
};

/// Reads everything that a group says of what is in it, but no elements of datasets, and of a group in it only its text
/// attribute `group_text`; empty where it has none.
GroupContents group_contents(const File& file, const std::string& group, const std::string& group_text);

}  // namespace evictlab::trace::hdf5
