#include "golden_file.hpp"

#include <cmath>

namespace evictlab::golden {
namespace {

using trace::Tensor;
using trace::hdf5::File;

Tensor tensor(Index heads, Index rows, Index columns) {
  return Tensor(trace::ElementType::kFloat32, heads, rows, columns);
}

Tensor read_tensor(const File& file, const std::string& object) {
  const auto shape = file.dataset(object).shape;
  if (shape.size() != 3) throw trace::TraceError("{}: {} must have three dimensions", file.path().string(), object);
  const std::vector<float> values = file.read<float>(object);
  Tensor result = tensor(static_cast<Index>(shape[0]), static_cast<Index>(shape[1]), static_cast<Index>(shape[2]));
  std::copy(values.begin(), values.end(), result.floats().begin());
  return result;
}

trace::RowMatrixView head_rows(const Tensor& values, Index head, Index rows, Index columns) {
  return {values.floats().data() + head * rows * columns, rows, columns, Eigen::OuterStride<>(columns)};
}

// Causal softmax rows of queries [H, m, d], the last of n positions, over keys [G, n, d]; row by row to `use`.
template <typename Use>
void attention_rows(const trace::LayerShape& shape, const Tensor& queries, Index m, const Tensor& keys,
                    const Use& use) {
  const Index n = shape.prompt_length;
  for (Index h = 0; h < shape.query_heads; ++h) {
    const auto q = head_rows(queries, h, m, shape.head_dim);
    const auto k = head_rows(keys, shape.kv_head_of(h), n, shape.head_dim);
    const Eigen::MatrixXd logits = shape.attention_scale * (q.cast<double>() * k.cast<double>().transpose());
    for (Index t = 0; t < m; ++t) {
      const Index seen = n - m + t + 1;
      Eigen::RowVectorXd row = Eigen::RowVectorXd::Zero(n);
      row.head(seen) = (logits.row(t).head(seen).array() - logits.row(t).head(seen).maxCoeff()).exp();
      row /= row.sum();
      use(h, t, row);
    }
  }
}

void set_row(Tensor& tensor, Index head, Index row, const Eigen::RowVectorXd& values) {
  const Eigen::RowVectorXf stored = values.cast<float>();
  tensor.set_row(head, row, {stored.data(), static_cast<std::size_t>(stored.size())});
}

// || v_j W_O^h ||_1 from o_proj [hidden, H*d].
Tensor output_norms(const trace::LayerShape& shape, const Tensor& values, const std::vector<float>& projection) {
  const Index width = shape.query_heads * shape.head_dim;
  const Eigen::Map<const trace::RowMatrix> weight(projection.data(), static_cast<Index>(projection.size()) / width,
                                                  width);
  Tensor norms = tensor(shape.query_heads, 1, shape.prompt_length);
  for (Index h = 0; h < shape.query_heads; ++h) {
    const auto v = head_rows(values, shape.kv_head_of(h), shape.prompt_length, shape.head_dim);
    const Eigen::MatrixXd part = weight.middleCols(h * shape.head_dim, shape.head_dim).cast<double>();
    const Eigen::MatrixXd output = v.cast<double>() * part.transpose();
    set_row(norms, h, 0, output.cwiseAbs().rowwise().sum().transpose());
  }
  return norms;
}

}  // namespace

FileKind kind_of(const std::filesystem::path& path) {
  try {
    const File file = File::open(path);
    if (file.has_attribute("/", "format") && file.text("/", "format") == "evictlab-golden") return FileKind::kFamily;
    if (file.has_attribute("/", "policy") && file.text("/", "policy") == "cake_adjust_budgets") {
      return FileKind::kAdjustBudgets;
    }
  } catch (const trace::TraceError&) {  // no HDF5, or another kind of it
  }
  return FileKind::kOther;
}

Inputs::Inputs(const File& file) {
  if (file.integer("/", "format_version") != 1) {
    throw trace::TraceError("{}: golden files of version 1 are known, got {}", file.path().string(),
                            file.integer("/", "format_version"));
  }
  const auto layers = static_cast<Index>(file.integer("/", "num_layers"));
  for (Index layer = 0; layer < layers; ++layer) layers_.push_back(read_layer(file, layer));
  if (layers_.empty()) throw trace::TraceError("{}: holds no layers", file.path().string());
}

trace::LayerData Inputs::query_statistics(std::size_t layer, Index first) const {
  const Tensor& queries = all_queries_[layer];
  trace::LayerData data;
  if (queries.empty()) return data;
  const Index n = queries.rows();
  const Index d = queries.columns();
  data.query_count = n - first;
  data.query_mean = tensor(queries.heads(), 1, d);
  data.query_covariance = tensor(queries.heads(), d, d);
  for (Index h = 0; h < queries.heads(); ++h) {
    const Eigen::MatrixXd q = head_rows(queries, h, n, d).bottomRows(n - first).cast<double>();
    const Eigen::RowVectorXd mean = q.colwise().mean();
    const Eigen::MatrixXd centred = q.rowwise() - mean;
    const Eigen::MatrixXd covariance = centred.transpose() * centred / static_cast<double>(n - first);
    set_row(data.query_mean, h, 0, mean);
    for (Index i = 0; i < d; ++i) set_row(data.query_covariance, h, i, covariance.row(i));
  }
  return data;
}

trace::LayerData Inputs::read_layer(const File& file, Index layer) {
  const auto size = [&](const char* name) { return static_cast<Index>(file.integer("/", name)); };
  const std::string group = "/layers/" + std::to_string(layer);
  trace::LayerData data;
  data.shape = {.layer = layer,
                .layers = size("num_layers"),
                .query_heads = size("num_heads"),
                .kv_heads = size("num_kv_heads"),
                .head_dim = size("head_dim"),
                .prompt_length = size("seq_len"),
                .future_length = 0,
                .window = size("window"),
                .sliding_window = 0,
                .attention_scale = 1.0 / std::sqrt(static_cast<double>(size("head_dim")))};
  const trace::LayerShape& shape = data.shape;
  const Index n = shape.prompt_length;
  data.queries = read_tensor(file, group + "/query");
  data.keys = read_tensor(file, group + "/key");
  data.values = read_tensor(file, group + "/value");
  const auto check = [&](const Tensor& given, const char* name, Index heads, Index rows) {
    if (given.heads() == heads && given.rows() == rows && given.columns() == shape.head_dim) return;
    throw trace::TraceError("{}: {}/{} has another shape than the file's attributes say", file.path().string(), group,
                            name);
  };
  check(data.queries, "query", shape.query_heads, shape.window);
  check(data.keys, "key", shape.kv_heads, n);
  check(data.values, "value", shape.kv_heads, n);
  data.window_attention = tensor(shape.query_heads, shape.window, n);
  attention_rows(shape, data.queries, shape.window, data.keys,
                 [&](Index h, Index t, const Eigen::RowVectorXd& row) { set_row(data.window_attention, h, t, row); });
  if (file.exists(group + "/o_proj")) {
    const std::vector<float> projection = file.read<float>(group + "/o_proj");
    data.output_norms = output_norms(shape, data.values, projection);
    const Index width = shape.query_heads * shape.head_dim;
    data.output_weight = std::make_shared<const trace::RowMatrix>(
        Eigen::Map<const trace::RowMatrix>(projection.data(), static_cast<Index>(projection.size()) / width, width)
            .transpose());
  }
  if (file.exists(group + "/query_full")) {
    const Tensor queries = read_tensor(file, group + "/query_full");
    check(queries, "query_full", shape.query_heads, n);
    std::vector<Eigen::RowVectorXd> mass(static_cast<std::size_t>(shape.query_heads), Eigen::RowVectorXd::Zero(n));
    attention_rows(shape, queries, n, data.keys,
                   [&](Index h, Index, const Eigen::RowVectorXd& row) { mass[static_cast<std::size_t>(h)] += row; });
    data.attention_mass = tensor(shape.query_heads, 1, n);
    for (Index h = 0; h < shape.query_heads; ++h) set_row(data.attention_mass, h, 0, mass[static_cast<std::size_t>(h)]);
    all_queries_.push_back(queries);
  } else {
    all_queries_.emplace_back();
  }
  return data;
}

Case::Case(const File& file, const std::string& case_name, bool cake_family)
    : name(case_name), path("/golden/" + case_name) {
  try {
    params = nlohmann::json::parse(file.text(path, "params"));
    algorithm = cake_family ? file.text(path, "policy") : params.at("algo").get<std::string>();
  } catch (const nlohmann::json::exception& error) {
    throw trace::TraceError("{}: params of {} cannot be read: {}", file.path().string(), path, error.what());
  }
  per_query_head = file.text(path, "head_axis") == "query";
}

}  // namespace evictlab::golden
