#include "trace/io/hdf5_file.hpp"

#include <hdf5.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include "core/half.hpp"
#include "core/interrupt.hpp"
#include "trace/io/text_heap.hpp"

#ifdef __SANITIZE_ADDRESS__
// HDF5 does not free everything on its ways out of damaged files and failed writes.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }
#endif

namespace evictlab::trace::hdf5 {
namespace {

static_assert(std::is_same_v<hid_t, std::int64_t>);

// HDF5 holds one lock for the whole library, where it was built with one at all: ours makes the wrapper
// independent of that. Its error printing is switched off per thread, hence at every entry. What a damaged file makes
// it do is that file's fault.
class Lock {
 public:
  explicit Lock(const std::filesystem::path& path)
      : guard_(mutex()),
        blame_(path.c_str(), "the HDF5 library crashed on it; the file is damaged, or made to do that") {
    // At exit HDF5 closes what is open; after a failed write (a full disk) it crashes on it. We close all
    // files ourselves.
    [[maybe_unused]] static const herr_t without_cleanup = H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    H5Eclear2(H5E_DEFAULT);
  }

 private:
  static std::recursive_mutex& mutex() {
    static std::recursive_mutex instance;
    return instance;
  }
  std::lock_guard<std::recursive_mutex> guard_;
  core::CrashBlame blame_;
};

class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  hid_t get() const { return id_; }

 private:
  hid_t id_;
  Close close_;
};

herr_t keep_first_reason(unsigned index, const H5E_error2_t* error, void* reason) {
  if (index == 0 && error->desc != nullptr) {
    try {
      *static_cast<std::string*>(reason) = error->desc;
    } catch (...) {  // must not pass through C
      return -1;
    }
  }
  return 0;
}

// The innermost entry of HDF5's error stack: what went wrong before everybody above gave up.
std::string reason() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first_reason, &text);
  H5Eclear2(H5E_DEFAULT);
  std::ranges::replace(text, '\n', ' ');
  // Where the system refused, its reason is all that a reader needs: "... error message = 'No space left on device',
  // ...".
  constexpr std::string_view kSystem = "error message = '";
  if (const auto begin = text.find(kSystem); begin != text.npos) {
    text = text.substr(begin + kSystem.size());
    text.resize(std::min(text.find('\''), text.size()));
  }
  return text.empty() ? "HDF5 gives no reason" : text;
}

[[noreturn]] void fail(const File& file, const std::string& object, std::string_view what) {
  throw TraceError("{}: {}: {}", file.path().string(), object, what);
}

// Passes an id or a status through; negative is failure.
template <typename Status>
Status check(Status status, const File& file, const std::string& object, std::string_view action) {
  if (status < 0) throw TraceError("{}: {}: cannot {}: {}", file.path().string(), object, action, reason());
  return status;
}

Handle half_type() {
  Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  H5Tset_fields(type.get(), 15, 10, 5, 0, 10);
  H5Tset_size(type.get(), 2);
  H5Tset_ebias(type.get(), 15);
  return type;
}

Handle text_type(std::size_t size) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), size);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  if (size != H5T_VARIABLE) H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  return type;
}

Handle stored_type(Type type) {
  const auto copy = [](hid_t id) { return Handle(H5Tcopy(id), H5Tclose); };
  switch (type) {
    case Type::kFloat16:
      return half_type();
    case Type::kFloat32:
      return copy(H5T_IEEE_F32LE);
    case Type::kFloat64:
      return copy(H5T_IEEE_F64LE);
    case Type::kInt8:
      return copy(H5T_STD_I8LE);
    case Type::kInt16:
      return copy(H5T_STD_I16LE);
    case Type::kInt32:
      return copy(H5T_STD_I32LE);
    case Type::kInt64:
      return copy(H5T_STD_I64LE);
    case Type::kUint8:
      return copy(H5T_STD_U8LE);
    case Type::kUint16:
      return copy(H5T_STD_U16LE);
    case Type::kUint32:
      return copy(H5T_STD_U32LE);
    case Type::kUint64:
      return copy(H5T_STD_U64LE);
    default:
      throw std::invalid_argument("not a type of numbers");
  }
}

Type type_of(hid_t id) {
  switch (H5Tget_class(id)) {
    case H5T_STRING:
      return Type::kText;
    case H5T_COMPOUND:
      return Type::kTable;
    case H5T_ENUM:
      return H5Tget_size(id) == 1 ? Type::kBoolean : Type::kOther;
    case H5T_FLOAT:
    case H5T_INTEGER:
      // Only what is stored exactly as we would store it: byte order and bit layout included.
      for (const Type type : {Type::kFloat16, Type::kFloat32, Type::kFloat64, Type::kInt8, Type::kInt16, Type::kInt32,
                              Type::kInt64, Type::kUint8, Type::kUint16, Type::kUint32, Type::kUint64}) {
        if (H5Tequal(id, stored_type(type).get()) > 0) return type;
      }
      return Type::kOther;
    default:
      return Type::kOther;
  }
}

// How groups, datasets and files are made: without time stamps, so that equal content gives equal bytes,
// and with their attributes in the object's own header (by default the ninth would move all of them into
// mostly empty blocks apart).
Handle creation(hid_t list_class) {
  Handle list(H5Pcreate(list_class), H5Pclose);
  H5Pset_obj_track_times(list.get(), false);
  H5Pset_attr_phase_change(list.get(), 128, 0);
  return list;
}

// Version 1.8's structures carry checksums, so that damage to them is noticed, and every HDF5 in use reads them.
Handle access() {
  Handle list(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_libver_bounds(list.get(), H5F_LIBVER_V18, H5F_LIBVER_V18);
  H5Pset_alignment(list.get(), 4096, 64);  // large datasets can be used in place, with any vector instruction
  return list;
}

Handle open_object(const File& file, hid_t id, const std::string& object) {
  if (!file.exists(object)) fail(file, object, "is missing");
  return {check(H5Oopen(id, object.c_str(), H5P_DEFAULT), file, object, "open"), H5Oclose};
}

Handle open_dataset(const File& file, hid_t id, const std::string& object) {
  Handle handle = open_object(file, id, object);
  if (H5Iget_type(handle.get()) != H5I_DATASET) fail(file, object, "is not a dataset");
  return handle;
}

// HDF5 stores a text of variable length as a reference into a heap, and crashes on a heap that is damaged
// (1.10). A conversion to this type gets the reference as it is stored; heap_text() follows it.
herr_t keep_reference(hid_t source, hid_t target, H5T_cdata_t* data, std::size_t, std::size_t, std::size_t, void*,
                      void*, hid_t) {
  if (data->command != H5T_CONV_INIT) return 0;
  data->need_bkg = H5T_BKG_NO;
  const bool ours = H5Tis_variable_str(source) > 0 && H5Tget_size(target) == sizeof(TextReference);
  return ours ? 0 : -1;
}

Handle reference_type() {
  static const bool registered = [] {
    const Handle source = text_type(H5T_VARIABLE);
    const Handle target(H5Tcreate(H5T_OPAQUE, sizeof(TextReference)), H5Tclose);
    return H5Tregister(H5T_PERS_SOFT, "text reference", source.get(), target.get(), keep_reference) >= 0;
  }();
  if (!registered) throw std::runtime_error("HDF5 does not take a conversion: " + reason());
  return {H5Tcreate(H5T_OPAQUE, sizeof(TextReference)), H5Tclose};
}

std::string parent_of(const std::string& object) {
  const auto slash = object.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : object.substr(0, slash);
}

}  // namespace

std::string_view type_name(Type type) {
  constexpr std::array kNames{"float16", "float32", "float64", "int8",    "int16", "int32", "int64", "uint8",
                              "uint16",  "uint32",  "uint64",  "boolean", "text",  "table", "other"};
  return kNames.at(static_cast<std::size_t>(type));
}

// ---- files ----------------------------------------------------------------------------------------

File File::create(const std::filesystem::path& path) {
  const Lock lock(path);
  File file(-1, path);
  file.id_ = check(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation(H5P_FILE_CREATE).get(), access().get()), file, "/",
                   "create the file");
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
  H5Fclose(id_);
}

File::File(File&& other) noexcept : id_(std::exchange(other.id_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(path_, other.path_);
  return *this;
}

void File::close() {
  if (id_ < 0) return;
  const Lock lock(path_);
  check(H5Fclose(std::exchange(id_, -1)), *this, "/", "close the file");
}

// ---- groups and links -----------------------------------------------------------------------------

bool File::exists(const std::string& object) const {
  const Lock lock(path_);
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
  return exists(object) && H5Iget_type(open_object(*this, id_, object).get()) == H5I_DATASET;
}

std::vector<std::string> File::children(const std::string& group) const {
  const Lock lock(path_);
  const Handle handle = open_object(*this, id_, group);
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
  check(H5Literate(handle.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, collect, &names), *this, group, "list");
  std::ranges::sort(names);
  return names;
}

void File::create_group(const std::string& group) {
  const Lock lock(path_);
  if (group == "/" || exists(group)) return;
  create_group(parent_of(group));
  const Handle created(check(H5Gcreate2(id_, group.c_str(), H5P_DEFAULT, creation(H5P_GROUP_CREATE).get(), H5P_DEFAULT),
                             *this, group, "create the group"),
                       H5Gclose);
}

// ---- datasets -------------------------------------------------------------------------------------

namespace {

void write_elements(const File& file, hid_t id, const std::string& object, const Handle& type, const Handle& space,
                    std::span<const std::byte> elements) {
  const auto points = check(H5Sget_simple_extent_npoints(space.get()), file, object, "find the shape");
  if (static_cast<std::uint64_t>(points) * H5Tget_size(type.get()) != elements.size()) {
    throw std::invalid_argument(object + ": the shape does not have as many elements as are given");
  }
  const Handle options = creation(H5P_DATASET_CREATE);
  H5Pset_fill_time(options.get(), H5D_FILL_TIME_NEVER);
  const Handle set(
      check(H5Dcreate2(id, object.c_str(), type.get(), space.get(), H5P_DEFAULT, options.get(), H5P_DEFAULT), file,
            object, "create the dataset"),
      H5Dclose);
  if (elements.empty()) return;  // nothing is stored
  check(H5Dwrite(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, elements.data()), file, object, "write");
}

}  // namespace

void File::write(const std::string& object, Type type, std::span<const std::uint64_t> shape,
                 std::span<const std::byte> elements) {
  const Lock lock(path_);
  create_group(parent_of(object));
  const std::vector<hsize_t> extent(shape.begin(), shape.end());
  const Handle space(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose);
  write_elements(*this, id_, object, stored_type(type), space, elements);
}

namespace {

// How many bytes a dataset's elements take in memory, after making sure that the file can hold them.
Dataset inspect(const File& file, const Handle& set, const std::string& object) {
  const Handle type(check(H5Dget_type(set.get()), file, object, "find the type"), H5Tclose);
  const Handle space(check(H5Dget_space(set.get()), file, object, "find the shape"), H5Sclose);
  const Handle options(check(H5Dget_create_plist(set.get()), file, object, "find the layout"), H5Pclose);
  const int rank = check(H5Sget_simple_extent_ndims(space.get()), file, object, "find the shape");
  std::vector<hsize_t> extent(static_cast<std::size_t>(rank));
  if (rank > 0) check(H5Sget_simple_extent_dims(space.get(), extent.data(), nullptr), file, object, "find the shape");

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

}  // namespace

Dataset File::dataset(const std::string& object) const {
  const Lock lock(path_);
  return inspect(*this, open_dataset(*this, id_, object), object);
}

void File::read_bytes(const std::string& object, std::span<std::byte> out) const {
  const Lock lock(path_);
  const Handle set = open_dataset(*this, id_, object);
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

// ---- tables of named ranges -----------------------------------------------------------------------

namespace {

constexpr std::size_t kLongestName = 65536;

// [name: text of `name_bytes`][begin: int64][end: int64], packed.
Handle range_type(std::size_t name_bytes) {
  Handle row(H5Tcreate(H5T_COMPOUND, name_bytes + 16), H5Tclose);
  H5Tinsert(row.get(), "name", 0, text_type(name_bytes).get());
  H5Tinsert(row.get(), "begin", name_bytes, H5T_STD_I64LE);
  H5Tinsert(row.get(), "end", name_bytes + 8, H5T_STD_I64LE);
  return row;
}

}  // namespace

std::vector<std::byte> File::write_ranges(const std::string& object, std::span<const NamedRange> ranges) {
  const Lock lock(path_);
  std::size_t name_bytes = 1;
  for (const NamedRange& range : ranges) name_bytes = std::max(name_bytes, range.name.size());
  if (name_bytes > kLongestName) fail(*this, object, "a name is longer than 65536 bytes");
  const std::size_t row_bytes = name_bytes + 16;
  std::vector<std::byte> rows(ranges.size() * row_bytes);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    std::byte* row = rows.data() + i * row_bytes;
    std::memcpy(row, ranges[i].name.data(), ranges[i].name.size());
    std::memcpy(row + name_bytes, &ranges[i].begin, 8);
    std::memcpy(row + name_bytes + 8, &ranges[i].end, 8);
  }
  create_group(parent_of(object));
  const hsize_t extent = ranges.size();
  const Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
  write_elements(*this, id_, object, range_type(name_bytes), space, rows);
  return rows;
}

std::vector<NamedRange> File::read_ranges(const std::string& object) const {
  const Lock lock(path_);
  const Handle set = open_dataset(*this, id_, object);
  const Dataset info = inspect(*this, set, object);
  const Handle type(check(H5Dget_type(set.get()), *this, object, "find the type"), H5Tclose);
  const std::size_t name_bytes = info.element_bytes - std::min<std::size_t>(info.element_bytes, 16);
  if (info.type != Type::kTable || info.shape.size() != 1 || name_bytes == 0 || name_bytes > kLongestName ||
      H5Tequal(type.get(), range_type(name_bytes).get()) <= 0) {
    fail(*this, object, "is not a table with the columns name (text), begin and end (int64)");
  }
  const std::vector<std::byte> rows = read_bytes(object);
  std::vector<NamedRange> ranges(info.elements);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const std::byte* row = rows.data() + i * info.element_bytes;
    const auto* name = reinterpret_cast<const char*>(row);
    ranges[i].name.assign(name, strnlen(name, name_bytes));
    std::memcpy(&ranges[i].begin, row + name_bytes, 8);
    std::memcpy(&ranges[i].end, row + name_bytes + 8, 8);
  }
  return ranges;
}

// ---- attributes -----------------------------------------------------------------------------------

namespace {

void set_attribute(const File& file, hid_t id, const std::string& object, const std::string& name, const Handle& type,
                   const Handle& space, const void* value) {
  const Handle owner = open_object(file, id, object);
  if (H5Aexists(owner.get(), name.c_str()) > 0) {
    check(H5Adelete(owner.get(), name.c_str()), file, object, "replace the attribute " + name);
  }
  const Handle attribute(check(H5Acreate2(owner.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
                               file, object, "create the attribute " + name),
                         H5Aclose);
  check(H5Awrite(attribute.get(), type.get(), value), file, object, "write the attribute " + name);
}

Handle scalar() { return {H5Screate(H5S_SCALAR), H5Sclose}; }

struct Attribute {
  Handle owner;
  Handle id;
  Handle type;
  std::uint64_t elements;
};

Attribute open_attribute(const File& file, hid_t id, const std::string& object, const std::string& name) {
  Handle owner = open_object(file, id, object);
  if (H5Aexists(owner.get(), name.c_str()) <= 0) fail(file, object, "the attribute " + name + " is missing");
  Handle attribute(check(H5Aopen(owner.get(), name.c_str(), H5P_DEFAULT), file, object, "open the attribute " + name),
                   H5Aclose);
  Handle type(check(H5Aget_type(attribute.get()), file, object, "find the type of the attribute " + name), H5Tclose);
  const Handle space(check(H5Aget_space(attribute.get()), file, object, "find the shape of the attribute " + name),
                     H5Sclose);
  const auto elements = static_cast<std::uint64_t>(
      check(H5Sget_simple_extent_npoints(space.get()), file, object, "find the shape of the attribute " + name));
  if (elements > std::filesystem::file_size(file.path())) fail(file, object, "damaged: the attribute " + name);
  return {std::move(owner), std::move(attribute), std::move(type), elements};
}

// Integers (and booleans as h5py stores them) as int64, or any numbers as double.
template <typename T>
std::vector<T> read_attribute(const File& file, hid_t id, const std::string& object, const std::string& name) {
  const Attribute attribute = open_attribute(file, id, object, name);
  const H5T_class_t kind = H5Tget_class(attribute.type.get());
  if (kind == H5T_ENUM && H5Tget_size(attribute.type.get()) == 1) {
    std::vector<std::int8_t> values(attribute.elements);
    check(H5Aread(attribute.id.get(), attribute.type.get(), values.data()), file, object, "read the attribute " + name);
    return {values.begin(), values.end()};
  }
  if (kind != H5T_INTEGER && !(kind == H5T_FLOAT && std::is_same_v<T, double>)) {
    fail(file, object,
         "the attribute " + name + (std::is_same_v<T, double> ? " is not a number" : " is not an integer"));
  }
  std::vector<T> values(attribute.elements);
  const hid_t memory = std::is_same_v<T, double> ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT64;
  check(H5Aread(attribute.id.get(), memory, values.data()), file, object, "read the attribute " + name);
  return values;
}

template <typename T>
T only(const std::vector<T>& values, const File& file, const std::string& object, const std::string& name) {
  if (values.size() != 1) fail(file, object, "the attribute " + name + " is not one value");
  return values.front();
}

}  // namespace

void File::copy_attribute(const File& source, const std::string& object, const std::string& name,
                          const std::string& destination) {
  const Attribute attribute = open_attribute(source, source.id_, object, name);
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
  set_attribute(*this, id_, destination, name, attribute.type, space, value.data());
}

// Not H5Ocopy: in HDF5 1.10 that crashes when the disk is full, on damaged texts, and on many attributes.
void File::copy_from(const File& source, const std::string& object, const std::string& destination) {
  const Lock lock(path_);
  if (source.is_dataset(object)) {
    const std::vector<std::byte> elements = source.read_bytes(object);
    const Handle set = open_dataset(source, source.id_, object);
    const Handle type(H5Dget_type(set.get()), H5Tclose);
    const Handle space(H5Dget_space(set.get()), H5Sclose);
    create_group(parent_of(destination));
    write_elements(*this, id_, destination, type, space, elements);
  } else {
    create_group(destination);
    for (const std::string& child : source.children(object)) {
      copy_from(source, object + "/" + child, destination + "/" + child);
    }
  }
  for (const std::string& name : source.attributes(object)) copy_attribute(source, object, name, destination);
}

void File::set_text(const std::string& object, const std::string& name, std::string_view value) {
  const Lock lock(path_);
  const std::string text(value);
  const char* pointer = text.c_str();
  set_attribute(*this, id_, object, name, text_type(H5T_VARIABLE), scalar(), &pointer);
}

void File::set_integer(const std::string& object, const std::string& name, std::int64_t value) {
  const Lock lock(path_);
  set_attribute(*this, id_, object, name, stored_type(Type::kInt64), scalar(), &value);
}

void File::set_number(const std::string& object, const std::string& name, double value) {
  const Lock lock(path_);
  set_attribute(*this, id_, object, name, stored_type(Type::kFloat64), scalar(), &value);
}

void File::set_integers(const std::string& object, const std::string& name, std::span<const std::int64_t> values) {
  const Lock lock(path_);
  const hsize_t extent = values.size();
  const Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
  set_attribute(*this, id_, object, name, stored_type(Type::kInt64), space, values.data());
}

bool File::has_attribute(const std::string& object, const std::string& name) const {
  const Lock lock(path_);
  return H5Aexists(open_object(*this, id_, object).get(), name.c_str()) > 0;
}

std::vector<std::string> File::attributes(const std::string& object) const {
  const Lock lock(path_);
  const Handle owner = open_object(*this, id_, object);
  std::vector<std::string> names;
  const auto collect = [](hid_t, const char* name, const H5A_info_t*, void* list) -> herr_t {
    try {
      static_cast<std::vector<std::string>*>(list)->emplace_back(name);
    } catch (...) {
      return -1;
    }
    return 0;
  };
  check(H5Aiterate2(owner.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, collect, &names), *this, object,
        "list the attributes");
  std::ranges::sort(names);
  return names;
}

bool File::is_text(const std::string& object, const std::string& name) const {
  const Lock lock(path_);
  return H5Tget_class(open_attribute(*this, id_, object, name).type.get()) == H5T_STRING;
}

std::string File::text(const std::string& object, const std::string& name) const {
  const Lock lock(path_);
  const Attribute attribute = open_attribute(*this, id_, object, name);
  if (H5Tget_class(attribute.type.get()) != H5T_STRING || attribute.elements != 1) {
    fail(*this, object, "the attribute " + name + " is not a text");
  }
  if (H5Tis_variable_str(attribute.type.get()) > 0) {
    unsigned intent = 0;
    H5Fget_intent(id_, &intent);
    if (intent != H5F_ACC_RDONLY) check(H5Fflush(id_, H5F_SCOPE_LOCAL), *this, object, "flush");
    TextReference reference;
    check(H5Aread(attribute.id.get(), reference_type().get(), reference.data()), *this, object,
          "read the attribute " + name);
    const std::optional<std::string> value = heap_text(path_, reference);
    if (!value) fail(*this, object, "damaged: the attribute " + name + " is not where the file says");
    return *value;
  }
  const std::size_t size = H5Tget_size(attribute.type.get());
  if (size > std::filesystem::file_size(path_)) fail(*this, object, "damaged: the attribute " + name);
  std::string value(size, '\0');
  check(H5Aread(attribute.id.get(), attribute.type.get(), value.data()), *this, object, "read the attribute " + name);
  value.resize(strnlen(value.data(), size));
  return value;
}

std::int64_t File::integer(const std::string& object, const std::string& name) const {
  const Lock lock(path_);
  return only(read_attribute<std::int64_t>(*this, id_, object, name), *this, object, name);
}

double File::number(const std::string& object, const std::string& name) const {
  const Lock lock(path_);
  return only(read_attribute<double>(*this, id_, object, name), *this, object, name);
}

std::vector<std::int64_t> File::integers(const std::string& object, const std::string& name) const {
  const Lock lock(path_);
  return read_attribute<std::int64_t>(*this, id_, object, name);
}

}  // namespace evictlab::trace::hdf5
