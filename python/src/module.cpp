#include "binding.hpp"

#include "core/error.hpp"
#include "core/memory.hpp"
#include "core/parallel.hpp"
#include "core/version.hpp"
#include "core/hash.hpp"

// evictlab._core: what the Python package is written in terms of.

PYBIND11_MODULE(EVICTLAB_MODULE, module) {
  namespace py = pybind11;
  using namespace evictlab;
  module.doc() = "The C++ side of evictlab.";
  module.attr("version") = std::string(core::version());
  static py::exception<core::InputError> error(module, "Error", PyExc_ValueError);
  error.doc() = "Input that cannot be used: what, where, and what would be right, in one line.";
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const core::InputError& problem) {
      PyErr_SetString(error.ptr(), problem.what());
    } catch (const std::filesystem::filesystem_error& problem) {
      PyErr_SetString(error.ptr(), (problem.path1().string() + ": " + problem.code().message()).c_str());
    } catch (const core::Interrupted&) {
      PyErr_SetNone(PyExc_KeyboardInterrupt);
    }
  });
  module.def("set_threads", &core::set_threads, py::arg("count"), "Threads that calls use; 0 = all.");
  module.def("available_memory", &core::available_memory, "Bytes that this process can still allocate, about.");
  module.def(
      "content_hash",
      [](const py::buffer& buffer) {
        const py::buffer_info info = buffer.request();
        const auto* bytes = static_cast<const std::byte*>(info.ptr);
        return core::content_hash({bytes, static_cast<std::size_t>(info.size * info.itemsize)});
      },
      py::arg("bytes"), "\"xxh3-128:...\" of a contiguous buffer.");
  python::bind_traces(module);
  python::bind_policies(module);
  python::bind_custom(module);
  python::bind_replays(module);
  python::bind_results(module);
  python::bind_chats(module);
}
