#include "trace/io/hdf5/attributes.hpp"

#include <hdf5.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>

#include "trace/io/hdf5/text_heap.hpp"
#include "trace/io/hdf5/types.hpp"

namespace evictlab::trace::hdf5 {

Attribute open_attribute(const File& file, const Handle& owner, const std::string& object, const std::string& name) {
  if (H5Aexists(owner.get(), name.c_str()) <= 0) fail(file, object, "the attribute " + name + " is missing");
  Handle attribute(check(H5Aopen(owner.get(), name.c_str(), H5P_DEFAULT), file, object, "open the attribute " + name),
                   H5Aclose);
  Handle type(check(H5Aget_type(attribute.get()), file, object, "find the type of the attribute " + name), H5Tclose);
  const Handle space(check(H5Aget_space(attribute.get()), file, object, "find the shape of the attribute " + name),
                     H5Sclose);
  const auto elements = static_cast<std::uint64_t>(
      check(H5Sget_simple_extent_npoints(space.get()), file, object, "find the shape of the attribute " + name));
  if (elements > std::filesystem::file_size(file.path())) fail(file, object, "damaged: the attribute " + name);
  return {std::move(attribute), std::move(type), elements};
}

Attribute open_attribute(const File& file, const std::string& object, const std::string& name) {
  return open_attribute(file, open_object(file, object), object, name);  // an attribute outlives its owner's handle
}

std::vector<std::string> attribute_names(const File& file, const Handle& owner, const std::string& object) {
  std::vector<std::string> names;
  const auto collect = [](hid_t, const char* name, const H5A_info_t*, void* list) -> herr_t {
    try {
      static_cast<std::vector<std::string>*>(list)->emplace_back(name);
    } catch (...) {
      return -1;
    }
    return 0;
  };
  check(H5Aiterate2(owner.get(), H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, collect, &names), file, object,
        "list the attributes");
  std::ranges::sort(names);
  return names;
}

bool is_one_text(const Attribute& attribute) {
  return H5Tget_class(attribute.type.get()) == H5T_STRING && attribute.elements == 1;
}

bool is_integers(const Attribute& attribute) {
  const H5T_class_t kind = H5Tget_class(attribute.type.get());
  return kind == H5T_INTEGER || (kind == H5T_ENUM && H5Tget_size(attribute.type.get()) == 1);
}

bool is_floats(const Attribute& attribute) { return H5Tget_class(attribute.type.get()) == H5T_FLOAT; }

void flush_texts(const File& file, const std::string& object) {
  unsigned intent = 0;
  H5Fget_intent(file.id(), &intent);
  if (intent != H5F_ACC_RDONLY) check(H5Fflush(file.id(), H5F_SCOPE_LOCAL), file, object, "flush");
}

std::string read_text(const File& file, const std::string& object, const std::string& name, const Attribute& attribute,
                      TextHeaps& heaps) {
  if (H5Tis_variable_str(attribute.type.get()) > 0) {
    TextReference reference;
    check(H5Aread(attribute.id.get(), reference_type().get(), reference.data()), file, object,
          "read the attribute " + name);
    std::optional<std::string> value = heaps.text(reference);
    if (!value) fail(file, object, "damaged: the attribute " + name + " is not where the file says");
    return std::move(*value);
  }
  const std::size_t size = H5Tget_size(attribute.type.get());
  if (size > std::filesystem::file_size(file.path())) fail(file, object, "damaged: the attribute " + name);
  std::string value(size, '\0');
  check(H5Aread(attribute.id.get(), attribute.type.get(), value.data()), file, object, "read the attribute " + name);
  value.resize(strnlen(value.data(), size));
  return value;
}

template <typename T>
std::vector<T> read_values(const File& file, const std::string& object, const std::string& name,
                           const Attribute& attribute) {
  if (H5Tget_class(attribute.type.get()) == H5T_ENUM) {
    std::vector<std::int8_t> values(attribute.elements);
    check(H5Aread(attribute.id.get(), attribute.type.get(), values.data()), file, object, "read the attribute " + name);
    return {values.begin(), values.end()};
  }
  std::vector<T> values(attribute.elements);
  const hid_t memory = std::is_same_v<T, double> ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT64;
  check(H5Aread(attribute.id.get(), memory, values.data()), file, object, "read the attribute " + name);
  return values;
}

template std::vector<double> read_values(const File&, const std::string&, const std::string&, const Attribute&);
template std::vector<std::int64_t> read_values(const File&, const std::string&, const std::string&, const Attribute&);

void set_attribute(const File& file, const std::string& object, const std::string& name, const Handle& type,
                   const Handle& space, const void* value) {
  const Handle owner = open_object(file, object);
  if (H5Aexists(owner.get(), name.c_str()) > 0) {
    check(H5Adelete(owner.get(), name.c_str()), file, object, "replace the attribute " + name);
  }
  const Handle attribute(check(H5Acreate2(owner.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
                               file, object, "create the attribute " + name),
                         H5Aclose);
  check(H5Awrite(attribute.get(), type.get(), value), file, object, "write the attribute " + name);
}

namespace {

Handle scalar() { return {H5Screate(H5S_SCALAR), H5Sclose}; }

template <typename T>
std::vector<T> read_attribute(const File& file, const std::string& object, const std::string& name) {
  const Attribute attribute = open_attribute(file, object, name);
  constexpr bool kNumbers = std::is_same_v<T, double>;
  if (!is_integers(attribute) && !(kNumbers && is_floats(attribute))) {
    fail(file, object, "the attribute " + name + (kNumbers ? " is not a number" : " is not an integer"));
  }
  return read_values<T>(file, object, name, attribute);
}

template <typename T>
T only(const std::vector<T>& values, const File& file, const std::string& object, const std::string& name) {
  if (values.size() != 1) fail(file, object, "the attribute " + name + " is not one value");
  return values.front();
}

}  // namespace

void File::set_text(const std::string& object, const std::string& name, std::string_view value) {
  const Lock lock(path_);
  if (value.find('\0') != std::string_view::npos) fail(*this, object, "the attribute " + name + " would hold a NUL");
  const std::string text(value);
  const char* pointer = text.c_str();
  set_attribute(*this, object, name, variable_text_type(), scalar(), &pointer);
}

void File::set_integer(const std::string& object, const std::string& name, std::int64_t value) {
  const Lock lock(path_);
  set_attribute(*this, object, name, stored_type(Type::kInt64), scalar(), &value);
}

void File::set_number(const std::string& object, const std::string& name, double value) {
  const Lock lock(path_);
  set_attribute(*this, object, name, stored_type(Type::kFloat64), scalar(), &value);
}

void File::set_integers(const std::string& object, const std::string& name, std::span<const std::int64_t> values) {
  const Lock lock(path_);
  const hsize_t extent = values.size();
  const Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
  set_attribute(*this, object, name, stored_type(Type::kInt64), space, values.data());
}

bool File::has_attribute(const std::string& object, const std::string& name) const {
  const Lock lock(path_);
  return H5Aexists(open_object(*this, object).get(), name.c_str()) > 0;
}

std::vector<std::string> File::attributes(const std::string& object) const {
  const Lock lock(path_);
  return attribute_names(*this, open_object(*this, object), object);
}

bool File::is_text(const std::string& object, const std::string& name) const {
  const Lock lock(path_);
  return H5Tget_class(open_attribute(*this, object, name).type.get()) == H5T_STRING;
}

std::string File::text(const std::string& object, const std::string& name) const {
  const Lock lock(path_);
  const Attribute attribute = open_attribute(*this, object, name);
  if (!is_one_text(attribute)) fail(*this, object, "the attribute " + name + " is not a text");
  flush_texts(*this, object);
  TextHeaps heaps(path_);
  return read_text(*this, object, name, attribute, heaps);
}

std::int64_t File::integer(const std::string& object, const std::string& name) const {
  const Lock lock(path_);
  return only(read_attribute<std::int64_t>(*this, object, name), *this, object, name);
}

double File::number(const std::string& object, const std::string& name) const {
  const Lock lock(path_);
  return only(read_attribute<double>(*this, object, name), *this, object, name);
}

std::vector<std::int64_t> File::integers(const std::string& object, const std::string& name) const {
  const Lock lock(path_);
  return read_attribute<std::int64_t>(*this, object, name);
}

}  // namespace evictlab::trace::hdf5
