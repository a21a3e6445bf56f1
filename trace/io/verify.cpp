#include "trace/io/verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "trace/io/hash.hpp"
#include "trace/io/parts_directory.hpp"
#include "trace/io/reader.hpp"
#include "trace/io/trace_file.hpp"

namespace evictlab::trace {
namespace {

namespace fs = std::filesystem;

// The allowed error of sums of attention. Half: each of `terms` values is rounded to 11 significant bits, or,
// below the normal range, to a multiple of 2^-24 of what is stored; the values sum to one. Float: softmax
// and sums are computed in float by whoever records.
double row_tolerance(Index terms, double scale) {
  return std::ldexp(1.0, -11) + static_cast<double>(terms) * std::ldexp(1.0, -25) / scale + 1e-5;
}
constexpr double kMassTolerance = 1e-4;  // relative

// Each returns what is wrong with a field's values, at the first place; empty = nothing.

std::string check_finite(const Tensor& tensor, bool non_negative) {
  const TensorView view = tensor.view();
  std::vector<float> row(static_cast<std::size_t>(tensor.columns()));
  for (Index head = 0; head < tensor.heads(); ++head) {
    for (Index r = 0; r < tensor.rows(); ++r) {
      view.copy_row(head, r, row);
      for (std::size_t column = 0; column < row.size(); ++column) {
        if (!std::isfinite(row[column]) || (non_negative && row[column] < 0)) {
          return fmt::format("{} at [{}, {}, {}]", row[column], head, r, column);
        }
      }
    }
  }
  return "";
}

std::string check_window_attention(const Tensor& tensor, const LayerShape& shape) {
  const TensorView view = tensor.view();
  std::vector<float> row(static_cast<std::size_t>(shape.prompt_length));
  for (Index head = 0; head < tensor.heads(); ++head) {
    for (Index r = 0; r < tensor.rows(); ++r) {
      view.copy_row(head, r, row);
      const Index position = shape.prompt_length - shape.window + r;
      const Index first = shape.first_seen(position);
      double sum = 0;
      for (Index column = 0; column < shape.prompt_length; ++column) {
        const double attention = row[static_cast<std::size_t>(column)];
        if (attention != 0 && (column < first || column > position)) {
          return fmt::format("head {}, query {} attends to position {}, but sees only {} to {}", head, position, column,
                             first, position);
        }
        sum += attention;
      }
      if (std::abs(sum - 1) > row_tolerance(position - first + 1, static_cast<double>(tensor.scale()))) {
        return fmt::format("head {}, the row of query {} sums to {:.6f}, not 1", head, position, sum);
      }
    }
  }
  return "";
}

// Mass that queries first_query .. first_query+queries-1 pay to positions 0 .. columns-1: `queries` in
// all, to no position more than the number of queries that see it.
std::string check_mass(const Tensor& tensor, const LayerShape& shape, Index first_query, Index queries) {
  const Index last_query = first_query + queries - 1;
  for (Index head = 0; head < tensor.heads(); ++head) {
    const auto row = tensor.view().float_row(head, 0);
    double sum = 0;
    for (Index column = 0; column < tensor.columns(); ++column) {
      const double mass = row[static_cast<std::size_t>(column)];
      const Index last =
          shape.sliding_window == 0 ? last_query : std::min(last_query, column + shape.sliding_window - 1);
      const Index seen_by = std::max<Index>(0, last - std::max(first_query, column) + 1);
      if (mass > static_cast<double>(seen_by) * (1 + kMassTolerance)) {
        return fmt::format("head {}: position {} has mass {:.6g}, but only {} queries see it", head, column, mass,
                           seen_by);
      }
      sum += mass;
    }
    if (std::abs(sum - static_cast<double>(queries)) > kMassTolerance * static_cast<double>(queries)) {
      return fmt::format("head {}: sums to {:.6g}, expected {}, the number of queries", head, sum, queries);
    }
  }
  return "";
}

std::string check_covariance(const Tensor& tensor) {
  for (Index head = 0; head < tensor.heads(); ++head) {
    for (Index i = 0; i < tensor.columns(); ++i) {
      if (tensor.view().float_row(head, i)[static_cast<std::size_t>(i)] < 0) {
        return fmt::format("head {}: the variance of dimension {} is negative", head, i);
      }
    }
  }
  return "";
}

std::string check_values(Field field, const Tensor& tensor, const LayerShape& shape) {
  const bool non_negative = kSummaryFields.contains(field);
  if (std::string problem = check_finite(tensor, non_negative); !problem.empty()) return problem;
  switch (field) {
    case Field::kWindowAttention:
      return check_window_attention(tensor, shape);
    case Field::kAttentionMass:
      return check_mass(tensor, shape, 0, shape.prompt_length);
    case Field::kFutureMass:
      return check_mass(tensor, shape, shape.prompt_length, shape.future_length);
    case Field::kQueryCovariance:
      return check_covariance(tensor);
    default:
      return "";
  }
}

// Collects what is wrong with one file of a trace.
class Verifier {
 public:
  Verifier(const TraceFile& trace, std::vector<std::string>& problems) : trace_(trace), problems_(problems) {}

  void verify() {
    check_texts("/");
    for (const std::string& id : trace_.incomplete()) add(layout::prompt_path(id), "is not complete");
    for (Index layer = 0; layer < trace_.model().layers; ++layer) {
      if (trace_.has_output_weight(layer)) check_output_weight(layer);
    }
    for (const TraceFile::Entry& prompt : trace_.prompts()) check_prompt(prompt.info);
  }

 private:
  void add(const std::string& object, const std::string& problem) {
    problems_.push_back(fmt::format("{}: {}: {}", trace_.file().path().string(), object, problem));
  }

  // Runs a check whose reading may find damage of its own.
  template <typename Check>
  void guarded(const Check& check) {
    try {
      check();
    } catch (const core::InputError& error) {
      problems_.push_back(error.what());
    }
  }

  void check_texts(const std::string& object) {
    guarded([&] {
      if (trace_.file().text(object, "texts_hash") != layout::texts_hash(trace_.file(), object)) {
        add(object, "damaged: its texts do not have the recorded hash");
      }
    });
  }

  // False when the bytes are damaged: then their meaning need not be looked at.
  bool check_description(const std::string& object, std::span<const std::byte> bytes, std::string_view axes,
                         std::string_view unit) {
    const hdf5::File& file = trace_.file();
    if (file.text(object, "axes") != axes) add(object, fmt::format("its axes are not \"{}\"", axes));
    if (file.text(object, "unit") != unit) add(object, fmt::format("its unit is not \"{}\"", unit));
    const std::string stored = file.text(object, "hash");
    const std::string computed = content_hash(bytes);
    if (stored != computed) add(object, fmt::format("damaged: its hash is {}, recorded was {}", computed, stored));
    return stored == computed;
  }

  void check_output_weight(Index layer) {
    guarded([&] {
      const RowMatrix weight = trace_.output_weight(layer);
      const std::string object = layout::output_weight_path(layer);
      const auto bytes = std::as_bytes(std::span(weight.data(), static_cast<std::size_t>(weight.size())));
      if (check_description(object, bytes, "query_head * head_dimension, hidden", "weight") && !weight.allFinite()) {
        add(object, "holds a value that is not finite");
      }
    });
  }

  void check_prompt(const PromptInfo& prompt) {
    const std::string group = layout::prompt_path(prompt.id);
    check_texts(group);
    guarded([&] {
      const std::vector<std::int32_t> tokens = trace_.tokens(prompt);
      if (check_description(group + "/tokens", std::as_bytes(std::span(tokens)), "position", "token id") &&
          std::ranges::any_of(tokens, [](std::int32_t token) { return token < 0; })) {
        add(group + "/tokens", "holds a negative token id");
      }
    });
    // The spans' ranges were checked when the prompt was read.
    guarded(
        [&] { check_description(group + "/spans", trace_.file().read_bytes(group + "/spans"), "span", "position"); });
    for (const Index layer : prompt.layers) {
      for (const Field field : kAllFields) {
        if (prompt.recorded().contains(field)) check_field(prompt, layer, field);
      }
    }
  }

  void check_field(const PromptInfo& prompt, Index layer, Field field) {
    guarded([&] {
      const Tensor tensor = trace_.field(prompt, layer, field);
      const std::string object = layout::field_path(prompt.id, layer, field);
      const FieldInfo& info = field_info(field);
      if (!check_description(object, tensor.bytes(), info.axes, info.unit)) return;
      const std::string problem = check_values(field, tensor, layer_shape(trace_.model(), prompt, layer));
      if (!problem.empty()) add(object, problem);
      if (field == Field::kQueryMean) trace_.query_count(prompt, layer);
    });
  }

  const TraceFile& trace_;
  std::vector<std::string>& problems_;
};

// Full-tier prompts need the output weights of their layers, which a part does not hold.
void require_output_weights(const TraceFile& weights, const std::vector<PromptInfo>& prompts,
                            std::vector<std::string>& problems) {
  std::map<Index, std::string> needed_by;
  for (const PromptInfo& prompt : prompts) {
    if (prompt.tier != Tier::kFull) continue;
    for (const Index layer : prompt.layers) needed_by.emplace(layer, prompt.id);
  }
  for (const auto& [layer, id] : needed_by) {
    if (!weights.has_output_weight(layer)) {
      problems.push_back(fmt::format("{}: {}: is missing, but prompt '{}' is of the full tier",
                                     weights.file().path().string(), layout::output_weight_path(layer), id));
    }
  }
}

}  // namespace

std::vector<std::string> verify_trace(const fs::path& path) {
  std::vector<std::string> problems;
  try {
    const TraceReader reader(path);  // what holds between files: one model, no id twice
    std::vector<fs::path> files{path};
    if (fs::is_directory(path)) {
      files = list_parts(path);
      files.insert(files.begin(), path / kModelPart);
    }
    for (const fs::path& file : files) Verifier(TraceFile(file), problems).verify();
    require_output_weights(TraceFile(files.front()), reader.prompts(), problems);
  } catch (const core::InputError& error) {
    problems.push_back(error.what());
  }
  return problems;
}

}  // namespace evictlab::trace
