#include "binding.hpp"
#include "core/half.hpp"

namespace evictlab::python {
namespace {

py::object object_of(const results::Cell& cell) {
  return std::visit(
      [](const auto& value) -> py::object {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::monostate>) {
          return py::none();
        } else {
          return py::cast(value);
        }
      },
      cell);
}

results::Cell cell_of(const py::handle& value) {
  if (value.is_none()) return std::monostate{};
  if (py::isinstance<py::str>(value)) return value.cast<std::string>();
  if (py::isinstance<py::int_>(value)) return value.cast<std::int64_t>();
  const double number = value.cast<double>();
  if (number != number) return std::monostate{};  // what pandas makes of an empty cell
  return number;
}

std::vector<py::ssize_t> shape_of(const trace::TensorView& view, bool flat) {
  if (flat) return {view.heads(), view.columns()};
  return {view.heads(), view.rows(), view.columns()};
}

}  // namespace

py::dict columns_of(const results::Table& table) {
  py::dict columns;
  for (std::size_t c = 0; c < table.columns().size(); ++c) {
    py::list values(table.rows());
    for (std::size_t r = 0; r < table.rows(); ++r) values[r] = object_of(table.row(r)[c]);
    columns[py::str(table.columns()[c])] = std::move(values);
  }
  return columns;
}

results::Table table_of(const py::dict& columns) {
  std::vector<std::string> names;
  std::vector<py::list> values;
  for (const auto& [name, column] : columns) {
    names.push_back(name.cast<std::string>());
    values.push_back(column.cast<py::list>());
    if (values.back().size() != values.front().size()) {
      throw results::TableError("column '{}' has {} values, the first has {}", names.back(), values.back().size(),
                                values.front().size());
    }
  }
  results::Table table(names);
  for (std::size_t row = 0; !values.empty() && row < values.front().size(); ++row) {
    std::vector<results::Cell> cells;
    for (const py::list& column : values) cells.push_back(cell_of(column[row]));
    table.add_row(std::move(cells));
  }
  return table;
}

py::array array_of(trace::Tensor tensor, bool flat) {
  auto* const kept = new trace::Tensor(std::move(tensor));
  const py::capsule owner(kept, [](void* pointer) { delete static_cast<trace::Tensor*>(pointer); });
  const bool half = kept->element_type() == trace::ElementType::kFloat16;
  const std::span<const std::byte> bytes = std::as_const(*kept).bytes();
  py::array array(py::dtype(half ? "float16" : "float32"), shape_of(kept->view(), flat), bytes.data(), owner);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

py::array_t<float> copy_of(const trace::TensorView& view, bool flat) {
  py::array_t<float> array(shape_of(view, flat));
  float* out = array.mutable_data();
  const auto columns = static_cast<std::size_t>(view.columns());
  for (trace::Index head = 0; head < view.heads(); ++head) {
    for (trace::Index row = 0; row < view.rows(); ++row, out += columns) view.copy_row(head, row, {out, columns});
  }
  return array;
}

template <typename Number>
py::array_t<Number, py::array::c_style | py::array::forcecast> real_numbers(const py::object& given) {
  const auto array = py::array::ensure(given);
  if (!array) throw NoNumbers("must be numbers, got {}", std::string(py::str(py::type::of(given))));
  if (array.dtype().kind() == 'c') {
    throw NoNumbers("must be real numbers, got {}", std::string(py::str(array.dtype())));
  }
  return {array};
}

template py::array_t<float, py::array::c_style | py::array::forcecast> real_numbers<float>(const py::object&);
template py::array_t<double, py::array::c_style | py::array::forcecast> real_numbers<double>(const py::object&);

}  // namespace evictlab::python
