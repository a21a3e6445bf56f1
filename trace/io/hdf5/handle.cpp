#include "trace/io/hdf5/handle.hpp"

#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <type_traits>

#ifdef __SANITIZE_ADDRESS__
// HDF5 does not free everything on its ways out of damaged files and failed writes.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }
#endif

namespace evictlab::trace::hdf5 {

static_assert(std::is_same_v<hid_t, std::int64_t> && std::is_same_v<herr_t, int>);

Lock::Lock(const std::filesystem::path& path)
    : guard_(mutex()),
      message_(path.c_str(), "the HDF5 library crashed on it; the file is damaged, or made to do that") {
  // At exit HDF5 closes what is open; after a failed write (a full disk) it crashes on it. We close all
  // files ourselves.
  [[maybe_unused]] static const herr_t without_cleanup = H5dont_atexit();
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  H5Eclear2(H5E_DEFAULT);
}

std::recursive_mutex& Lock::mutex() {
  static std::recursive_mutex instance;
  return instance;
}

namespace {

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

}  // namespace

std::string error_reason() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first_reason, &text);
  H5Eclear2(H5E_DEFAULT);
  std::ranges::replace(text, '\n', ' ');
  // If the system refused, its reason is all that a reader needs: "... error message = 'No space left on device', ...".
  constexpr std::string_view kSystem = "error message = '";
  if (const auto begin = text.find(kSystem); begin != text.npos) {
    text = text.substr(begin + kSystem.size());
    text.resize(std::min(text.find('\''), text.size()));
  }
  return text.empty() ? "HDF5 gives no reason" : text;
}

void fail(const File& file, const std::string& object, std::string_view problem) {
  throw TraceError("{}: {}: {}", file.path().string(), object, problem);
}

void fail_call(const File& file, const std::string& object, std::string_view action) {
  const std::string path = file.path().string();
  std::string reason = error_reason();
  // Version 1.10 says "bad version number for layout message" of what 2.0 writes with libver="latest".
  if (reason.find("version number") != std::string::npos) {
    reason += fmt::format("; if a newer HDF5 wrote it, its h5repack --low=1 --high=1 '{}' NEW.h5 converts it", path);
  }
  throw TraceError("{}: {}: cannot {}: {}", path, object, action, reason);
}

Handle creation_properties(hid_t list_class) {
  Handle list(H5Pcreate(list_class), H5Pclose);
  H5Pset_obj_track_times(list.get(), false);
  H5Pset_attr_phase_change(list.get(), 128, 0);
  return list;
}

Handle open_object(const File& file, const std::string& object) {
  if (file.last_.id < 0 || file.last_.object != object) {
    if (!file.exists(object)) fail(file, object, "is missing");
    const hid_t opened = check(H5Oopen(file.id(), object.c_str(), H5P_DEFAULT), file, object, "open");
    file.forget_last();
    file.last_ = {object, opened};
  }
  check(H5Iinc_ref(file.last_.id), file, object, "open");
  return {file.last_.id, H5Oclose};
}

std::string parent_of(const std::string& object) {
  const auto slash = object.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : object.substr(0, slash);
}

}  // namespace evictlab::trace::hdf5
