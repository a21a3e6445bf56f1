#include "trace/io/hdf5/contents.hpp"

#include <hdf5.h>

#include <span>

#include "trace/io/hdf5/attributes.hpp"
#include "trace/io/hdf5/datasets.hpp"
#include "trace/io/hdf5/handle.hpp"
#include "trace/io/hdf5/text_heap.hpp"

namespace evictlab::trace::hdf5 {
namespace {

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

AttributeContents attribute_contents(const File& file, const Handle& owner, const std::string& object,
                                     const std::string& name, TextHeaps& heaps) {
  using Kind = AttributeContents::Kind;
  const Attribute attribute = open_attribute(file, owner, object, name);
  if (is_one_text(attribute)) return {name, Kind::kText, read_text(file, object, name, attribute, heaps)};
  if (is_integers(attribute)) {
    return {name, Kind::kIntegers, bytes_of(read_values<std::int64_t>(file, object, name, attribute))};
  }
  if (is_floats(attribute)) {
    return {name, Kind::kNumbers, bytes_of(read_values<double>(file, object, name, attribute))};
  }
  return {name, Kind::kOther, ""};
}

std::vector<AttributeContents> attributes_of(const File& file, const Handle& owner, const std::string& object,
                                             TextHeaps& heaps) {
  std::vector<AttributeContents> found;
  for (const std::string& name : attribute_names(file, owner, object)) {
    found.push_back(attribute_contents(file, owner, object, name, heaps));
  }
  return found;
}

std::string text_of(const File& file, const Handle& owner, const std::string& object, const std::string& name,
                    TextHeaps& heaps) {
  if (H5Aexists(owner.get(), name.c_str()) <= 0) return "";
  const Attribute attribute = open_attribute(file, owner, object, name);
  return is_one_text(attribute) ? read_text(file, object, name, attribute, heaps) : "";
}

}  // namespace

GroupContents group_contents(const File& file, const std::string& group, const std::string& group_text) {
  const Lock lock(file.path());
  flush_texts(file, group);
  TextHeaps heaps(file.path());
  GroupContents contents;
  const Handle handle = open_object(file, group);
  contents.attributes = attributes_of(file, handle, group, heaps);
  for (const std::string& name : file.children(group)) {
    const std::string object = (group == "/" ? "" : group) + "/" + name;
    const Handle member(check(H5Oopen(handle.get(), name.c_str(), H5P_DEFAULT), file, object, "open"), H5Oclose);
    if (H5Iget_type(member.get()) == H5I_DATASET) {
      contents.members.push_back({.name = name,
                                  .dataset = inspect(file, member, object),
                                  .attributes = attributes_of(file, member, object, heaps)});
    } else {
      contents.members.push_back(
          {.name = name, .is_group = true, .group_text = text_of(file, member, object, group_text, heaps)});
    }
  }
  return contents;
}

}  // namespace evictlab::trace::hdf5
