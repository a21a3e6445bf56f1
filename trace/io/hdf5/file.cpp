#include "trace/io/hdf5/file.hpp"

#include <hdf5.h>

#include <algorithm>
#include <utility>

#include "trace/io/hdf5/attributes.hpp"
#include "trace/io/hdf5/datasets.hpp"
#include "trace/io/hdf5/handle.hpp"

namespace evictlab::trace::hdf5 {

namespace {

// Version 1.8's structures carry checksums, so that damage to them is noticed, and every HDF5 in use reads them.
Handle access() {
  Handle list(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_libver_bounds(list.get(), H5F_LIBVER_V18, H5F_LIBVER_V18);
  H5Pset_alignment(list.get(), 4096, 64);  // large datasets can be used in place, with any vector instruction
  return list;
}

}  // namespace

File File::create(const std::filesystem::path& path) {
  const Lock lock(path);
  File file(-1, path);
  file.id_ = check(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation_properties(H5P_FILE_CREATE).get(), access().get()),
                   file, "/", "create the file");
  return file;
}

File File::open(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) throw TraceError("{}: no such file", path.string());
  if (!std::filesystem::is_regular_file(status)) throw TraceError("{}: not a regular file", path.string());
  const Lock lock(path);
  File file(-1, path);
  const Handle list(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);  // whatever version wrote it
  H5Pset_file_locking(list.get(), false, true);             // what is read is complete; some file systems cannot lock
  if (H5Fis_hdf5(path.c_str()) == 0) throw TraceError("{}: not an HDF5 file", path.string());
  file.id_ = check(H5Fopen(path.c_str(), H5F_ACC_RDONLY, list.get()), file, "/", "open the file");
  return file;
}

File File::open_for_change(const std::filesystem::path& path) {
  const Lock lock(path);
  File file(-1, path);
  file.id_ = check(H5Fopen(path.c_str(), H5F_ACC_RDWR, access().get()), file, "/", "open the file for writing");
  return file;
}

File::~File() {
  if (id_ < 0) return;
  const Lock lock(path_);
  forget_last();
  H5Fclose(id_);
}

File::File(File&& other) noexcept
    : id_(std::exchange(other.id_, -1)), path_(std::move(other.path_)), last_(std::exchange(other.last_, {})) {}

File& File::operator=(File&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(path_, other.path_);
  std::swap(last_, other.last_);
  return *this;
}

void File::forget_last() const {
  if (last_.id >= 0) H5Oclose(last_.id);
  last_ = {};
}

void File::close() {
  if (id_ < 0) return;
  const Lock lock(path_);
  forget_last();
  check(H5Fclose(std::exchange(id_, -1)), *this, "/", "close the file");
}

bool File::exists(const std::string& object) const {
  const Lock lock(path_);
  if (last_.id >= 0 && last_.object == object) return true;
  // Level by level, because only hard links count: a trace is one file, and a link out of it could name
  // any file of the machine.
  for (std::size_t end = object.find('/', 1); object.size() > 1; end = object.find('/', end + 1)) {
    const std::string part = object.substr(0, end);
    H5L_info_t info;
    if (H5Lget_info(id_, part.c_str(), &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD) return false;
    if (end == std::string::npos) break;
  }
  return true;
}

bool File::is_dataset(const std::string& object) const {
  const Lock lock(path_);
  return exists(object) && H5Iget_type(open_object(*this, object).get()) == H5I_DATASET;
}

std::vector<std::string> File::children(const std::string& group) const {
  const Lock lock(path_);
  const Handle handle = open_object(*this, group);
  if (H5Iget_type(handle.get()) != H5I_GROUP) fail(*this, group, "is not a group");
  std::vector<std::string> names;
  const auto collect = [](hid_t, const char* name, const H5L_info_t* info, void* list) -> herr_t {
    try {
      if (info->type == H5L_TYPE_HARD) static_cast<std::vector<std::string>*>(list)->emplace_back(name);
    } catch (...) {
      return -1;
    }
    return 0;
  };
  // In the order of storage: for another one HDF5 makes a table of links, whose unread rest it frees where a file is
  // damaged.
  check(H5Literate(handle.get(), H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, collect, &names), *this, group, "list");
  std::ranges::sort(names);
  return names;
}

void File::create_group(const std::string& group) {
  const Lock lock(path_);
  if (group == "/" || exists(group)) return;
  create_group(parent_of(group));
  const Handle created(
      check(H5Gcreate2(id_, group.c_str(), H5P_DEFAULT, creation_properties(H5P_GROUP_CREATE).get(), H5P_DEFAULT),
            *this, group, "create the group"),
      H5Gclose);
}

void File::copy_attribute(const File& source, const std::string& object, const std::string& name,
                          const std::string& destination) {
  const Attribute attribute = open_attribute(source, object, name);
  const std::size_t element_bytes = H5Tget_size(attribute.type.get());
  if (H5Tis_variable_str(attribute.type.get()) > 0) return set_text(destination, name, source.text(object, name));
  if (H5Tdetect_class(attribute.type.get(), H5T_VLEN) != 0 ||
      H5Tdetect_class(attribute.type.get(), H5T_REFERENCE) != 0) {
    fail(source, object, "the attribute " + name + " is not plain data");
  }
  if (element_bytes > std::filesystem::file_size(source.path_)) fail(source, object, "damaged: the attribute " + name);
  std::vector<std::byte> value(attribute.elements * element_bytes);
  check(H5Aread(attribute.id.get(), attribute.type.get(), value.data()), source, object, "read the attribute " + name);
  const Handle space(H5Aget_space(attribute.id.get()), H5Sclose);
  set_attribute(*this, destination, name, attribute.type, space, value.data());
}

// Not H5Ocopy: in HDF5 1.10 that crashes when the disk is full, on damaged texts, and on many attributes.
void File::copy_from(const File& source, const std::string& object, const std::string& destination,
                     const CopiedElements& copied) {
  const Lock lock(path_);
  if (source.is_dataset(object)) {
    const std::vector<std::byte> elements = source.read_bytes(object);
    if (copied) copied(object, elements);
    const Handle set = open_dataset(source, object);
    const Handle type(H5Dget_type(set.get()), H5Tclose);
    const Handle space(H5Dget_space(set.get()), H5Sclose);
    create_group(parent_of(destination));
    write_elements(*this, destination, type, space, elements);
  } else {
    create_group(destination);
    for (const std::string& child : source.children(object)) {
      copy_from(source, object + "/" + child, destination + "/" + child, copied);
    }
  }
  for (const std::string& name : source.attributes(object)) copy_attribute(source, object, name, destination);
}

}  // namespace evictlab::trace::hdf5
