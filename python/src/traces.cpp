#include "binding.hpp"
#include "core/error.hpp"
#include "lab/inputs.hpp"
#include "trace/io/reader.hpp"
#include "trace/io/verify.hpp"
#include "trace/io/writer.hpp"

namespace evictlab::python {
namespace {

using trace::Field;
using trace::Index;

Field field_of(const std::string& name) {
  for (const Field field : trace::kAllFields) {
    if (trace::field_name(field) == name) return field;
  }
  std::string known;
  for (const Field field : trace::kAllFields)
    known += (known.empty() ? "" : ", ") + std::string(trace::field_name(field));
  throw trace::TraceError("no array is called '{}'; known: {}", name, known);
}

bool is_flat(Field field) { return trace::field_shape(field, trace::LayerShape{}).two_dimensional; }

std::vector<std::string> names_of(trace::Fields fields) {
  std::vector<std::string> names;
  for (const Field field : trace::kAllFields) {
    if (fields.contains(field)) names.emplace_back(trace::field_name(field));
  }
  return names;
}

py::dict model_dict(const trace::ModelInfo& model) {
  using namespace py::literals;
  return py::dict("name"_a = model.name, "architecture"_a = model.architecture, "layers"_a = model.layers,
                  "query_heads"_a = model.query_heads, "kv_heads"_a = model.kv_heads, "head_dim"_a = model.head_dim,
                  "hidden_size"_a = model.hidden_size, "attention_scale"_a = model.attention_scale,
                  "sliding_windows"_a = model.sliding_windows, "position_encoding"_a = model.position_encoding,
                  "fingerprint"_a = model.fingerprint, "cache_element_bytes"_a = model.cache_element_bytes);
}

trace::ModelInfo model_info(const py::dict& model) {
  const auto at = [&](const char* name) { return model[name]; };
  return {.name = at("name").cast<std::string>(),
          .architecture = at("architecture").cast<std::string>(),
          .layers = at("layers").cast<Index>(),
          .query_heads = at("query_heads").cast<Index>(),
          .kv_heads = at("kv_heads").cast<Index>(),
          .head_dim = at("head_dim").cast<Index>(),
          .hidden_size = at("hidden_size").cast<Index>(),
          .attention_scale = at("attention_scale").cast<double>(),
          .sliding_windows = at("sliding_windows").cast<std::vector<Index>>(),
          .position_encoding = at("position_encoding").cast<std::string>(),
          .fingerprint = at("fingerprint").cast<std::string>(),
          .cache_element_bytes = at("cache_element_bytes").cast<Index>()};
}

py::dict prompt_dict(const trace::PromptInfo& prompt) {
  using namespace py::literals;
  py::list spans;
  for (const trace::Span& span : prompt.spans) spans.append(py::make_tuple(span.name, span.begin, span.end));
  return py::dict("id"_a = prompt.id, "task"_a = prompt.task, "source"_a = prompt.source,
                  "document"_a = prompt.document, "prompt_length"_a = prompt.prompt_length,
                  "future_length"_a = prompt.future_length, "future_kind"_a = prompt.future_kind,
                  "tier"_a = std::string(trace::tier_name(prompt.tier)), "window"_a = prompt.window,
                  "layers"_a = prompt.layers, "spans"_a = spans, "arrays"_a = names_of(prompt.recorded()));
}

trace::PromptInfo prompt_info(const py::dict& prompt) {
  const auto at = [&](const char* name) { return prompt[name]; };
  const auto tier = at("tier").cast<std::string>();
  trace::PromptInfo info{.id = at("id").cast<std::string>(),
                         .task = at("task").cast<std::string>(),
                         .source = at("source").cast<std::string>(),
                         .prompt_length = at("prompt_length").cast<Index>(),
                         .future_length = at("future_length").cast<Index>(),
                         .future_kind = at("future_kind").cast<std::string>(),
                         .tier = tier == "full" ? trace::Tier::kFull : trace::Tier::kSummary,
                         .window = at("window").cast<Index>(),
                         .layers = at("layers").cast<std::vector<Index>>(),
                         .spans = {},
                         .document = at("document").cast<std::string>()};
  for (const py::handle span : at("spans")) {
    const auto [name, begin, end] = span.cast<std::tuple<std::string, Index, Index>>();
    info.spans.push_back({name, begin, end});
  }
  for (const auto& name : at("missing").cast<std::vector<std::string>>()) info.missing |= field_of(name);
  return info;
}

/// A tensor of the array's numbers: half precision where they are, or where the trace wants window attention so.
trace::Tensor tensor_of(Field field, const py::array& array) {
  const bool flat = is_flat(field);
  if (array.ndim() != (flat ? 2 : 3)) {
    throw trace::TraceError("{}: has {} axes, must have {}", trace::field_name(field), array.ndim(), flat ? 2 : 3);
  }
  const Index heads = array.shape(0);
  const Index rows = flat ? 1 : array.shape(1);
  const Index columns = array.shape(flat ? 1 : 2);
  const bool window = field == Field::kWindowAttention;
  const bool half = window || array.dtype().is(py::dtype("float16"));
  trace::Tensor tensor(half ? trace::ElementType::kFloat16 : trace::ElementType::kFloat32, heads, rows, columns,
                       window ? trace::kWindowAttentionScale : 1.0F);
  const auto numbers = real_numbers<float>(array);
  const float* data = numbers.data();
  for (Index head = 0; head < heads; ++head) {
    for (Index row = 0; row < rows; ++row, data += columns) {
      tensor.set_row(head, row, {data, static_cast<std::size_t>(columns)});
    }
  }
  return tensor;
}

py::array stored_array(const trace::TraceReader& trace, Index prompt, Index layer, const std::string& name,
                       bool as_stored) {
  const Field field = field_of(name);
  trace::LayerData data = [&] {
    const py::gil_scoped_release release;
    return trace.layer(prompt, layer, field);
  }();
  trace::Tensor& tensor = data[field];
  if (as_stored || tensor.scale() == 1.0F) return array_of(std::move(tensor), is_flat(field));
  return copy_of(std::as_const(tensor).view(), is_flat(field));
}

}  // namespace

void bind_traces(py::module_& module) {
  py::class_<trace::TraceReader>(module, "TraceReader")
      .def(py::init<std::filesystem::path>(), py::arg("path"))
      .def("model", [](const trace::TraceReader& self) { return model_dict(self.model()); })
      .def("prompts",
           [](const trace::TraceReader& self) {
             py::list prompts;
             for (const trace::PromptInfo& prompt : self.prompts()) prompts.append(prompt_dict(prompt));
             return prompts;
           })
      .def("tokens",
           [](const trace::TraceReader& self, Index prompt) {
             const std::vector<std::int32_t> tokens = self.tokens(prompt);
             return py::array_t<std::int32_t>(static_cast<py::ssize_t>(tokens.size()), tokens.data());
           })
      .def("array", &stored_array, py::arg("prompt"), py::arg("layer"), py::arg("name"), py::arg("as_stored") = false)
      .def("output_weight", [](const trace::TraceReader& self, Index layer) {
        const trace::RowMatrix weight = self.output_weight(layer);
        return py::array_t<float>({weight.rows(), weight.cols()}, weight.data());
      });

  py::class_<trace::PromptWriter>(module, "PromptWriter")
      .def("write",
           [](trace::PromptWriter& self, Index layer, const std::string& name, const py::array& array) {
             const Field field = field_of(name);
             const trace::Tensor tensor = tensor_of(field, array);
             const py::gil_scoped_release release;
             self.write(layer, field, tensor);
           })
      .def("set_future",
           [](trace::PromptWriter& self, const std::vector<std::int32_t>& tokens) { self.set_future(tokens); })
      .def("set_query_count", &trace::PromptWriter::set_query_count)
      .def("discard", [](trace::PromptWriter& self) { const trace::PromptWriter gone(std::move(self)); })
      .def("finish", &trace::PromptWriter::finish, py::call_guard<py::gil_scoped_release>());

  py::class_<trace::TraceWriter>(module, "TraceWriter")
      .def(py::init([](std::filesystem::path path, const py::dict& model, bool append, bool force, std::string command,
                       trace::Settings settings) {
             return std::make_unique<trace::TraceWriter>(
                 trace::WriterOptions{
                     .path = std::move(path), .append = append, .force = force, .command = std::move(command)},
                 model_info(model), std::move(settings));
           }),
           py::arg("path"), py::arg("model"), py::kw_only(), py::arg("append") = false, py::arg("force") = false,
           py::arg("command") = "", py::arg("settings") = trace::Settings())
      .def("contains", &trace::TraceWriter::contains)
      .def("contains_alike",
           [](trace::TraceWriter& self, const py::dict& prompt, const std::vector<std::int32_t>& tokens) {
             return self.contains_alike(prompt_info(prompt), tokens);
           })
      .def("prompts", &trace::TraceWriter::prompts)
      .def("write_output_weight",
           [](trace::TraceWriter& self, Index layer,
              const py::array_t<float, py::array::c_style | py::array::forcecast>& weight) {
             if (weight.ndim() != 2) throw trace::TraceError("an output weight has two axes");
             self.write_output_weight(
                 layer, Eigen::Map<const trace::RowMatrix>(weight.data(), weight.shape(0), weight.shape(1)));
           })
      .def(
          "begin_prompt",
          [](trace::TraceWriter& self, const py::dict& prompt, std::vector<std::int32_t> tokens) {
            return self.begin_prompt(prompt_info(prompt), std::move(tokens));
          },
          py::keep_alive<0, 1>())
      .def("finish", &trace::TraceWriter::finish, py::call_guard<py::gil_scoped_release>());

  module.def(
      "refuse_output",
      [](const std::filesystem::path& output, const std::vector<std::string>& model_directories) {
        lab::Inputs inputs;
        for (const std::string& directory : model_directories) {
          if (!directory.empty()) inputs.add_model(directory);
        }
        inputs.refuse_early(output);
      },
      py::arg("output"), py::arg("model_directories"),
      "Raises Error when `output` is a file of one of the models; names that are no directories are left out.");

  py::dict axes;
  for (const trace::FieldInfo& info : trace::kFieldTable) axes[py::str(info.name)] = py::str(info.axes);
  module.attr("FIELD_AXES") = axes;

  module.def(
      "verify_trace", [](const std::filesystem::path& path) { return trace::verify_trace(path); }, py::arg("path"),
      py::call_guard<py::gil_scoped_release>(), "What is wrong with a trace, a line each.");
}

}  // namespace evictlab::python
