#include "sim/policy/registry.hpp"

#include <fmt/format.h>

#include "binding.hpp"
#include "lab/policy_selection.hpp"

namespace evictlab::python {
namespace {

/// The policies of a list, and why some of it are impossible.
py::tuple make(const std::string& list, const std::string& protect, const std::string& variant) {
  Collector collector(nullptr);
  const std::vector<sim::Policy> policies =
      lab::make_policies({.list = list, .protect = protect, .variant = variant}, collector);
  return py::make_tuple(policies, collector.left_out);
}

py::list listed() {
  using namespace py::literals;
  py::list all;
  for (const sim::PolicyInfo& info : sim::policies()) {
    std::vector<std::string> variants;
    for (const sim::Variant& variant : info.definition.variants) variants.push_back(variant.name);
    all.append(py::dict("policy"_a = info.name, "description"_a = info.definition.description,
                        "source"_a = info.definition.source, "paper"_a = info.paper, "variants"_a = variants));
  }
  return all;
}

}  // namespace

void bind_policies(py::module_& module) {
  py::class_<sim::Policy>(module, "Policy", "A point in scorer x allocator x selector; a value.")
      .def_readonly("name", &sim::Policy::name)
      .def_readonly("parameters", &sim::Policy::parameters)
      .def_readonly("variant", &sim::Policy::variant)
      .def_property_readonly("label", &sim::Policy::label)
      .def_property_readonly(
          "granularity", [](const sim::Policy& self) { return std::string(sim::granularity_name(self.granularity)); })
      .def("__str__", &sim::Policy::text)
      .def("__repr__", [](const sim::Policy& self) { return fmt::format("<Policy {}>", self.text()); });
  module.def("make_policies", &make, py::arg("list"), py::arg("protect") = "", py::arg("variant") = "");
  module.def("listed_policies", &listed);
}

}  // namespace evictlab::python
