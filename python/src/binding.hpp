#pragma once

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <functional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "lab/observer.hpp"
#include "results/table.hpp"
#include "trace/model.hpp"

// What the files of the binding share. Python's texts of arrays, errors and long calls are dealt with here, once; the
// rest calls what the command line calls.

namespace evictlab::python {

namespace py = pybind11;

/// A table as {column: values}; an empty cell is None.
py::dict columns_of(const results::Table& table);
/// The table of {column: values}.
results::Table table_of(const py::dict& columns);

/// The elements of a tensor, shared with it: [heads, rows, columns], or [heads, columns] where `flat`. As stored: times
/// its scale.
py::array array_of(trace::Tensor tensor, bool flat);
/// A view's numbers as floats, copied: [heads, rows, columns], or [heads, columns] where `flat`.
py::array_t<float> copy_of(const trace::TensorView& view, bool flat);

/// What Python gave are no real numbers.
class NoNumbers : public core::InputError {
 public:
  using core::InputError::InputError;
};

/// The numbers of what Python gave. Throws NoNumbers where they are complex, of which floats would keep half, and
/// py::error_already_set where they are none.
template <typename Number>
py::array_t<Number, py::array::c_style | py::array::forcecast> real_numbers(const py::object& given);

/// Tells run_interruptibly() on this thread, while it lives, that it is called from a function that such a call runs.
class InsideCall {
 public:
  InsideCall();
  ~InsideCall();
  InsideCall(const InsideCall&) = delete;
  InsideCall& operator=(const InsideCall&) = delete;
};

/// Told (done, total) now and then.
using Progress = std::function<void(double, double)>;

/// Runs `work` on another thread without the interpreter's lock. Meanwhile passes what `work` reports to the Python
/// function `progress`, where there is one, and interrupts `work` on Ctrl-C: KeyboardInterrupt is raised when it has
/// stopped. Throws core::InputError inside an InsideCall: the work would wait for threads that wait for it.
void run_interruptibly(const py::object& progress, const std::function<void(const Progress&)>& work);

/// Collects what a use case reports, for Python to have once it is done.
class Collector final : public lab::Observer {
 public:
  explicit Collector(Progress progress) : progress_(std::move(progress)) {}
  void progress(const lab::Stage&, double done, double total) override { progress_(done, total); }
  void message(lab::Topic topic, const std::string& text) override {
    if (topic == lab::Topic::kLeftOut) left_out.push_back(text);
  }

  std::vector<std::string> left_out;  // policies that cannot be run, and why

 private:
  Progress progress_;
};

void bind_traces(py::module_& module);
void bind_policies(py::module_& module);
void bind_custom(py::module_& module);
void bind_replays(py::module_& module);
void bind_results(py::module_& module);
void bind_chats(py::module_& module);

}  // namespace evictlab::python
