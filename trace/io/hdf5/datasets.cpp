#include "trace/io/hdf5/datasets.hpp"

#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <type_traits>

#include "core/half.hpp"
#include "trace/io/hdf5/types.hpp"

namespace evictlab::trace::hdf5 {

Handle open_dataset(const File& file, const std::string& object) {
  Handle handle = open_object(file, object);
  if (H5Iget_type(handle.get()) != H5I_DATASET) fail(file, object, "is not a dataset");
  return handle;
}

void write_elements(const File& file, const std::string& object, const Handle& type, const Handle& space,
                    std::span<const std::byte> elements) {
  const auto points = check(H5Sget_simple_extent_npoints(space.get()), file, object, "find the shape");
  if (static_cast<std::uint64_t>(points) * H5Tget_size(type.get()) != elements.size()) {
    throw std::invalid_argument(object + ": the shape does not have as many elements as are given");
  }
  const Handle options = creation_properties(H5P_DATASET_CREATE);
  H5Pset_fill_time(options.get(), H5D_FILL_TIME_NEVER);
  const Handle set(
      check(H5Dcreate2(file.id(), object.c_str(), type.get(), space.get(), H5P_DEFAULT, options.get(), H5P_DEFAULT),
            file, object, "create the dataset"),
      H5Dclose);
  if (elements.empty()) return;  // nothing is stored
  check(H5Dwrite(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, elements.data()), file, object, "write");
}

namespace {

/// Refuses a dataset that is compressed in a way that this HDF5 does not know.
void require_filters(const File& file, const Handle& options, const std::string& object) {
  const int filters = H5Pget_nfilters(options.get());
  for (unsigned i = 0; i < static_cast<unsigned>(std::max(filters, 0)); ++i) {
    std::array<char, 32> name = {};
    unsigned flags = 0;
    std::size_t values = 0;
    const H5Z_filter_t filter =
        H5Pget_filter2(options.get(), i, &flags, &values, nullptr, name.size() - 1, name.data(), nullptr);
    if (filter < 0 || H5Zfilter_avail(filter) > 0) continue;
    fail(
        file, object,
        fmt::format("compressed with the filter {} '{}', which is not there; where it is, h5repack -f NONE '{}' NEW.h5 "
                    "writes the file without",
                    filter, name.data(), file.path().string()));
  }
}

}  // namespace

Dataset inspect(const File& file, const Handle& set, const std::string& object) {
  const Handle type(check(H5Dget_type(set.get()), file, object, "find the type"), H5Tclose);
  const Handle space(check(H5Dget_space(set.get()), file, object, "find the shape"), H5Sclose);
  const Handle options(check(H5Dget_create_plist(set.get()), file, object, "find the layout"), H5Pclose);
  const int rank = check(H5Sget_simple_extent_ndims(space.get()), file, object, "find the shape");
  std::vector<hsize_t> extent(static_cast<std::size_t>(rank));
  if (rank > 0) check(H5Sget_simple_extent_dims(space.get(), extent.data(), nullptr), file, object, "find the shape");

  require_filters(file, options, object);

  Dataset info;
  info.type = type_of(type.get());
  info.shape.assign(extent.begin(), extent.end());
  info.element_bytes = H5Tget_size(type.get());
  info.stored_bytes = H5Dget_storage_size(set.get());
  info.elements = H5Sget_simple_extent_type(space.get()) == H5S_NULL ? 0 : 1;
  std::uint64_t bytes = 0;
  bool overflow = false;
  for (const hsize_t size : extent) overflow |= __builtin_mul_overflow(info.elements, size, &info.elements);
  overflow |= __builtin_mul_overflow(info.elements, info.element_bytes, &bytes);

  const std::uint64_t file_bytes = std::filesystem::file_size(file.path());
  bool inside = !overflow && H5Pget_external_count(options.get()) == 0;
  switch (H5Pget_layout(options.get())) {
    case H5D_CONTIGUOUS: {
      // Counted from the file's first byte, also where something lies before HDF5's part of it (a user block).
      const haddr_t offset = bytes == 0 ? 0 : H5Dget_offset(set.get());
      inside = inside && info.stored_bytes == bytes && bytes <= file_bytes && offset <= file_bytes - bytes;
      info.offset = offset;
      break;
    }
    case H5D_COMPACT:
      inside = inside && info.stored_bytes == bytes;
      break;
    case H5D_CHUNKED: {
      // Deflate shrinks at most 1032 times.
      const std::uint64_t most = 1100 * file_bytes;
      inside = inside && bytes <= most;
      std::vector<hsize_t> chunk(extent.size());
      std::uint64_t chunk_bytes = info.element_bytes;
      check(H5Pget_chunk(options.get(), rank, chunk.data()), file, object, "find the chunks");
      for (const hsize_t size : chunk) inside = inside && !__builtin_mul_overflow(chunk_bytes, size, &chunk_bytes);
      inside = inside && chunk_bytes <= most;
      break;
    }
    default:
      inside = false;
  }
  if (!inside) fail(file, object, "damaged: its elements do not lie inside the file");
  return info;
}

void File::write(const std::string& object, Type type, std::span<const std::uint64_t> shape,
                 std::span<const std::byte> elements) {
  const Lock lock(path_);
  create_group(parent_of(object));
  const std::vector<hsize_t> extent(shape.begin(), shape.end());
  const Handle space(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose);
  write_elements(*this, object, stored_type(type), space, elements);
}

Dataset File::dataset(const std::string& object) const {
  const Lock lock(path_);
  return inspect(*this, open_dataset(*this, object), object);
}

void File::read_bytes(const std::string& object, std::span<std::byte> out) const {
  const Lock lock(path_);
  const Handle set = open_dataset(*this, object);
  const Dataset info = inspect(*this, set, object);
  if (info.elements * info.element_bytes != out.size()) {
    throw std::invalid_argument(object + ": the buffer is not as large as the dataset");
  }
  const Handle type(check(H5Dget_type(set.get()), *this, object, "find the type"), H5Tclose);
  if (H5Tdetect_class(type.get(), H5T_VLEN) != 0 || H5Tdetect_class(type.get(), H5T_REFERENCE) != 0 ||
      (H5Tget_class(type.get()) == H5T_STRING && H5Tis_variable_str(type.get()) != 0)) {
    fail(*this, object, "its elements are not plain data");
  }
  if (out.empty()) return;
  check(H5Dread(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, out.data()), *this, object, "read");
}

std::vector<std::byte> File::read_bytes(const std::string& object) const {
  const Dataset info = dataset(object);
  std::vector<std::byte> bytes(info.elements * info.element_bytes);
  read_bytes(object, bytes);
  return bytes;
}

namespace {

// The stored types every value of which a T holds exactly.
template <typename T>
bool holds(Type type) {
  switch (type) {
    case Type::kFloat16:
    case Type::kFloat32:
      return std::is_floating_point_v<T>;
    case Type::kFloat64:
      return std::is_same_v<T, double>;
    case Type::kUint8:
    case Type::kBoolean:
      return std::is_integral_v<T>;
    case Type::kInt8:
    case Type::kInt16:
    case Type::kUint16:
    case Type::kInt32:
      return std::is_integral_v<T> && sizeof(T) >= 4;
    case Type::kUint32:
    case Type::kInt64:
      return std::is_integral_v<T> && sizeof(T) == 8;
    default:
      return false;
  }
}

template <typename Stored, typename T>
std::vector<T> convert(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(Stored));
  for (std::size_t i = 0; i < values.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    if constexpr (std::is_same_v<Stored, core::Half>) {
      values[i] = static_cast<T>(core::to_float(stored));
    } else {
      values[i] = static_cast<T>(stored);
    }
  }
  return values;
}

}  // namespace

template <typename T>
std::vector<T> File::read(const std::string& object) const {
  const Dataset info = dataset(object);
  if (!holds<T>(info.type)) {
    throw TraceError("{}: {}: holds {}, which is not what belongs there", path_.string(), object, type_name(info.type));
  }
  const std::vector<std::byte> bytes = read_bytes(object);
  switch (info.type) {
    case Type::kFloat16:
      return convert<core::Half, T>(bytes);
    case Type::kFloat32:
      return convert<float, T>(bytes);
    case Type::kFloat64:
      return convert<double, T>(bytes);
    case Type::kInt8:
      return convert<std::int8_t, T>(bytes);
    case Type::kInt16:
      return convert<std::int16_t, T>(bytes);
    case Type::kInt32:
      return convert<std::int32_t, T>(bytes);
    case Type::kInt64:
      return convert<std::int64_t, T>(bytes);
    case Type::kUint16:
      return convert<std::uint16_t, T>(bytes);
    case Type::kUint32:
      return convert<std::uint32_t, T>(bytes);
    default:
      return convert<std::uint8_t, T>(bytes);  // bytes and booleans
  }
}

template std::vector<float> File::read(const std::string&) const;
template std::vector<double> File::read(const std::string&) const;
template std::vector<std::uint8_t> File::read(const std::string&) const;
template std::vector<std::int32_t> File::read(const std::string&) const;
template std::vector<std::int64_t> File::read(const std::string&) const;

}  // namespace evictlab::trace::hdf5
