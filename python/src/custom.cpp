#include <algorithm>
#include <cmath>
#include <memory>

#include "binding.hpp"
#include "core/error.hpp"
#include "sim/policy/registry.hpp"

// Scorers and allocators written in Python, as parts of policies. They are called from the threads of a replay, which
// take the interpreter's lock for it; what they raise ends the replay in one line that names them, prompt and layer.

namespace evictlab::python {
namespace {

using sim::Granularity;
using sim::Index;

/// A Python object that is let go of under the interpreter's lock, on whatever thread.
std::shared_ptr<py::object> shared(py::object object) {
  return {new py::object(std::move(object)), [](py::object* pointer) {
            const py::gil_scoped_acquire acquire;
            delete pointer;
          }};
}

Granularity granularity_of(const std::string& name) {
  for (const Granularity one : {Granularity::kQueryHead, Granularity::kKvHead, Granularity::kLayer}) {
    if (sim::granularity_name(one) == name) return one;
  }
  throw sim::PolicyError("granularity '{}', must be query, kv or layer", name);
}

/// What a function is told of a layer besides arrays.
py::object description_of(const trace::LayerView& layer) {
  using namespace py::literals;
  const trace::LayerShape& shape = layer.shape;
  return py::module_::import("types").attr("SimpleNamespace")(
      "prompt"_a = std::string(layer.prompt), "index"_a = shape.layer, "layers"_a = shape.layers,
      "query_heads"_a = shape.query_heads, "kv_heads"_a = shape.kv_heads, "head_dim"_a = shape.head_dim,
      "prompt_length"_a = shape.prompt_length, "sliding_window"_a = shape.sliding_window,
      "attention_scale"_a = shape.attention_scale);
}

/// What calling a function of this kind and name came to, or the reason in one line. Takes the lock.
template <typename Call>
auto called(const char* kind, const std::string& name, const trace::LayerView& layer, const Call& call) {
  const py::gil_scoped_acquire acquire;
  const InsideCall inside;
  try {
    return call();
  } catch (const NoNumbers& error) {
    throw sim::PolicyError("{} '{}', prompt '{}', layer {}: {}", kind, name, layer.prompt, layer.shape.layer,
                           error.what());
  } catch (const py::error_already_set& error) {
    if (error.matches(PyExc_KeyboardInterrupt)) throw core::Interrupted();
    const std::string said = error.what();
    throw sim::PolicyError("{} '{}', prompt '{}', layer {}: {}", kind, name, layer.prompt, layer.shape.layer,
                           said.substr(0, said.find('\n')));
  } catch (const py::cast_error&) {
    throw sim::PolicyError("{} '{}', prompt '{}', layer {}: must return numbers", kind, name, layer.prompt,
                           layer.shape.layer);
  }
}

/// The arrays that a scorer can ask for.
using Array = trace::LayerViewInfo;

const Array& array_called(const std::string& name) {
  for (const Array& array : trace::kLayerViewTable) {
    if (name == array.name) return array;
  }
  std::string known;
  for (const Array& array : trace::kLayerViewTable) known += (known.empty() ? "" : ", ") + std::string(array.name);
  throw sim::PolicyError("a scorer cannot need '{}'; known: {}", name, known);
}

bool is_flat(const Array& array) { return trace::field_shape(array.field, trace::LayerShape{}).two_dimensional; }

std::string identity_of(const std::string& name, const py::object& function) {
  return "python " + name + std::to_string(reinterpret_cast<std::uintptr_t>(function.ptr()));
}

class PythonScorer final : public sim::Scorer {
 public:
  PythonScorer(std::string name, py::object function, const std::vector<std::string>& needs, Index window,
               Granularity granularity)
      : name_(std::move(name)), function_(shared(std::move(function))), granularity_(granularity), window_(window) {
    for (const std::string& need : needs) arrays_.push_back(&array_called(need));
    set_identity(identity_of(name_, *function_));
  }

  Granularity granularity() const override { return granularity_; }
  sim::Needs needs() const override {
    sim::Needs needs;
    for (const Array* array : arrays_) {
      needs.fields |= array->field;
      if (needs_window(*array)) needs.window_rows = window_;
    }
    return needs;
  }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    called("scorer", name_, layer, [&] {
      py::list arguments;
      for (const Array* array : arrays_) {
        trace::TensorView view = layer.*(array->view);
        const bool of_window = needs_window(*array);
        if (of_window) view = view.row_range(view.rows() - window_, window_);
        arguments.append(copy_of(view, is_flat(*array)));
      }
      const py::object result = (*function_)(*arguments, description_of(layer));
      take(layer, real_numbers<float>(result), scores);
    });
  }

 private:
  static bool needs_window(const Array& array) {
    return array.view == &trace::LayerView::window_attention || array.view == &trace::LayerView::window_queries;
  }

  /// Rows of query heads are averaged where heads share a kept set.
  void take(const trace::LayerView& layer, const py::array_t<float>& result, trace::RowMatrix& scores) const {
    const trace::LayerShape& shape = layer.shape;
    const Index sets = sim::set_count(granularity_, shape);
    const bool by_head = result.ndim() == 2 && result.shape(0) == shape.query_heads;
    if (result.ndim() != 2 || (result.shape(0) != sets && !by_head) || result.shape(1) != shape.prompt_length) {
      std::string got;
      for (py::ssize_t axis = 0; axis < result.ndim(); ++axis)
        got += (axis ? ", " : "") + std::to_string(result.shape(axis));
      throw sim::PolicyError("scorer '{}', prompt '{}', layer {}: returned [{}], must be [{}, {}] or [{}, {}]", name_,
                             layer.prompt, shape.layer, got, sets, shape.prompt_length, shape.query_heads,
                             shape.prompt_length);
    }
    const Eigen::Map<const trace::RowMatrix> given(result.data(), result.shape(0), result.shape(1));
    const Index group = given.rows() / sets;
    for (Index set = 0; set < sets; ++set) {
      scores.row(set) = given.middleRows(set * group, group).colwise().mean();
    }
    if (!scores.rightCols(shape.prompt_length - shape.first_visible()).allFinite()) {
      throw sim::PolicyError("scorer '{}', prompt '{}', layer {}: returned numbers that are not finite", name_,
                             layer.prompt, shape.layer);
    }
  }

  std::string name_;
  std::shared_ptr<py::object> function_;
  std::vector<const Array*> arrays_;
  Granularity granularity_;
  Index window_;
};

class PythonAllocator final : public sim::Allocator {
 public:
  PythonAllocator(std::string name, py::object function)
      : Allocator({.reads_scores = true}), name_(std::move(name)), function_(shared(std::move(function))) {
    set_identity(identity_of(name_, *function_));
  }

  std::unique_ptr<sim::Allocation> begin(const sim::AllocationRequest& request) const override {
    class Work final : public sim::Allocation {
     public:
      Work(const PythonAllocator& allocator, const sim::AllocationRequest& request)
          : allocator_(allocator), request_(request) {}
      Index ceiling(const sim::LayerSummary& summary) const override {
        return std::ranges::max(allocator_.positions(summary, request_));
      }
      std::span<const Index> observe(const sim::LayerSummary& summary) override {
        const std::vector<Index> own = allocator_.positions(summary, request_);
        budgets_.insert(budgets_.end(), own.begin(), own.end());
        return budgets_;
      }
      std::span<const Index> finish() override { return budgets_; }

     private:
      const PythonAllocator& allocator_;
      sim::AllocationRequest request_;
      std::vector<Index> budgets_;
    };
    return std::make_unique<Work>(*this, request);
  }

 private:
  /// Of each kept set: what the function says, at least what is protected and at most what is there.
  std::vector<Index> positions(const sim::LayerSummary& summary, const sim::AllocationRequest& request) const {
    const trace::LayerView& layer = summary.layer;
    const auto sets = static_cast<std::size_t>(sim::set_count(request.granularity, layer.shape));
    std::vector<double> said = called("allocator", name_, layer, [&] {
      py::object importance = py::none();
      if (summary.importance.scores) {
        const trace::RowMatrix& scores = *summary.importance.scores;
        importance = py::array_t<float>({scores.rows(), scores.cols()}, scores.data());
      }
      const py::object result = (*function_)(importance, description_of(layer), request.real_capacity(layer.shape));
      const auto array = real_numbers<double>(result);
      return std::vector<double>(array.data(), array.data() + array.size());
    });
    if (said.size() == 1) said.resize(sets, said.front());
    if (said.size() != sets || !std::ranges::all_of(said, [](double value) { return std::isfinite(value); })) {
      throw sim::PolicyError("allocator '{}', prompt '{}', layer {}: must return one finite number or {}", name_,
                             layer.prompt, layer.shape.layer, sets);
    }
    std::vector<Index> whole;
    for (const double value : said) {
      const double most = static_cast<double>(summary.ranges.visible());
      whole.push_back(
          static_cast<Index>(std::clamp(value, static_cast<double>(summary.ranges.protected_count()), most)));
    }
    return whole;
  }

  std::string name_;
  std::shared_ptr<py::object> function_;
};

/// `composed` with functions in the place of its scorer and allocator, where they are not None, under a name of its
/// own.
sim::Policy custom_policy(const std::string& name, const std::string& composed, const py::object& scorer,
                          const std::vector<std::string>& needs, Index window, const std::string& granularity,
                          const py::object& allocator) {
  sim::Policy policy = sim::make_policy(composed);
  if (!scorer.is_none()) {
    policy.scorer = std::make_shared<PythonScorer>(name, scorer, needs, window, granularity_of(granularity));
    policy.granularity = policy.scorer->granularity();
  }
  if (!allocator.is_none()) policy.allocator = std::make_shared<PythonAllocator>(name, allocator);
  policy.name = name;
  sim::check_parts(policy);
  return policy;
}

}  // namespace

void bind_custom(py::module_& module) {
  module.def("custom_policy", &custom_policy, py::arg("name"), py::arg("composed"), py::arg("scorer"), py::arg("needs"),
             py::arg("window"), py::arg("granularity"), py::arg("allocator"));
}

}  // namespace evictlab::python
