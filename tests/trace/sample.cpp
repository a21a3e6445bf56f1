#include "sample.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>
#include <string_view>

#include "core/hash.hpp"
#include "trace/io/digest.hpp"
#include "trace/io/hdf5/file.hpp"
#include "trace/io/layout.hpp"

namespace evictlab::trace {
namespace {

class Numbers {
 public:
  explicit Numbers(std::uint32_t seed) : engine_(seed) {}
  float uniform() { return static_cast<float>(engine_() >> 8U) / static_cast<float>(1U << 24U); }  // [0, 1)
  float normal() { return uniform() + uniform() + uniform() - 1.5F; }

 private:
  std::mt19937 engine_;
};

Tensor random_tensor(ElementType type, const FieldShape& shape, Numbers& numbers, float scale = 1.0F) {
  Tensor tensor(type, shape.heads, shape.rows, shape.columns, scale);
  std::vector<float> row(static_cast<std::size_t>(shape.columns));
  for (Index head = 0; head < shape.heads; ++head) {
    for (Index r = 0; r < shape.rows; ++r) {
      for (float& value : row) value = numbers.normal();
      tensor.set_row(head, r, row);
    }
  }
  return tensor;
}

// The attention of the query at `position`: positive where it sees, sums to one.
std::vector<float> attention_row(const LayerShape& shape, Index position, Numbers& numbers) {
  std::vector<double> weights(static_cast<std::size_t>(shape.prompt_length + shape.future_length));
  double sum = 0;
  for (Index j = 0; j <= position; ++j) {
    if (shape.sliding_window > 0 && position - j >= shape.sliding_window) continue;
    sum += weights[static_cast<std::size_t>(j)] = 0.05 + static_cast<double>(numbers.uniform());
  }
  std::vector<float> row;
  for (const double weight : weights) row.push_back(static_cast<float>(weight / sum));
  return row;
}

LayerData sample_layer(const LayerShape& shape, const Sample& sample, Numbers& numbers) {
  LayerData layer;
  layer.shape = shape;
  const auto like = [&](Field field) { return field_shape(field, shape); };
  const Index n = shape.prompt_length;
  const Index positions = n + shape.future_length;
  layer.window_attention = Tensor(ElementType::kFloat16, shape.query_heads, shape.window, n, sample.scale);
  layer.attention_mass = Tensor(ElementType::kFloat32, shape.query_heads, 1, n);
  layer.future_mass = Tensor(ElementType::kFloat32, shape.query_heads, 1, positions);
  layer.output_norms = Tensor(ElementType::kFloat32, shape.query_heads, 1, positions);
  for (Index head = 0; head < shape.query_heads; ++head) {
    std::vector<float> mass(static_cast<std::size_t>(positions));
    std::vector<float> future(static_cast<std::size_t>(positions));
    for (Index position = 0; position < positions; ++position) {
      const std::vector<float> row = attention_row(shape, position, numbers);
      std::vector<float>& sum = position < n ? mass : future;
      for (std::size_t j = 0; j < row.size(); ++j) sum[j] += row[j];
      if (position < n && position >= n - shape.window) {
        layer.window_attention.set_row(head, position - (n - shape.window),
                                       std::span(row).first(static_cast<std::size_t>(n)));
      }
    }
    layer.attention_mass.set_row(head, 0, std::span(mass).first(static_cast<std::size_t>(n)));
    layer.future_mass.set_row(head, 0, future);
    for (float& norm : future) norm = numbers.uniform();
    layer.output_norms.set_row(head, 0, future);
  }
  if (sample.tier == Tier::kFull) {
    layer.queries = random_tensor(sample.element_type, like(Field::kQueries), numbers);
    layer.keys = random_tensor(sample.element_type, like(Field::kKeys), numbers);
    layer.values = random_tensor(sample.element_type, like(Field::kValues), numbers);
    layer.query_mean = random_tensor(ElementType::kFloat32, like(Field::kQueryMean), numbers);
    layer.query_covariance = random_tensor(ElementType::kFloat32, like(Field::kQueryCovariance), numbers);
    for (float& value : layer.query_covariance.floats()) value = std::abs(value);
    layer.query_count = n - 4;
    layer.residual_norms = random_tensor(ElementType::kFloat32, like(Field::kResidualNorms), numbers);
    for (Index t = 0; t < shape.future_length; ++t) {
      const auto norm = [&](Index stream) -> float& {
        return layer.residual_norms.floats()[static_cast<std::size_t>(stream * shape.future_length + t)];
      };
      for (const Index stream : {0, 1}) norm(stream) = std::abs(norm(stream));
      norm(2) = std::max(norm(0), norm(1));
    }
    if (shape.gradient_draws > 0) {
      layer.output_gradients = random_tensor(ElementType::kFloat16, like(Field::kOutputGradients), numbers, 0x1p10F);
    }
  }
  if (sample.extra.contains(Field::kRepeatAttention)) {
    layer.repeat_attention = Tensor(ElementType::kFloat32, shape.kv_heads, 1, n);
    for (float& value : layer.repeat_attention.floats()) value = numbers.uniform();
  }
  return layer;
}

}  // namespace

ModelInfo sample_model() {
  ModelInfo model;
  model.name = "sample";
  model.architecture = "LlamaForCausalLM";
  model.layers = 3;
  model.query_heads = 6;
  model.kv_heads = 2;
  model.head_dim = 5;
  model.hidden_size = 7;
  model.attention_scale = 0.447213595499958;
  model.sliding_windows = {0, 12, 0};
  model.position_encoding = "rope(theta=10000)";
  model.fingerprint = "xxh3-128:00112233445566778899aabbccddeeff";
  return model;
}

MemoryTrace::Prompt sample_prompt(const std::string& id, std::uint32_t seed, const Sample& sample) {
  Numbers numbers(seed);
  MemoryTrace::Prompt prompt;
  prompt.info.id = id;
  prompt.info.task = "needle";
  prompt.info.source = "sample.jsonl";
  prompt.info.prompt_length = sample.prompt_length;
  prompt.info.future_length = sample.future_length;
  prompt.info.future_kind = "generated";
  prompt.info.tier = sample.tier;
  prompt.info.window = sample.window;
  prompt.info.layers = sample.layers;
  prompt.info.spans = sample.spans;
  prompt.info.extra = sample.extra;
  prompt.info.gradient_draws = sample.tier == Tier::kFull ? sample.gradient_draws : 0;
  for (Index i = 0; i < sample.prompt_length + sample.future_length; ++i) {
    prompt.tokens.push_back(static_cast<std::int32_t>(1000.0F * numbers.uniform()));
  }
  for (const Index layer : sample.layers) {
    prompt.layers.push_back(sample_layer(layer_shape(sample_model(), prompt.info, layer), sample, numbers));
  }
  return prompt;
}

RowMatrix sample_output_weight(Index layer) {
  Numbers numbers(static_cast<std::uint32_t>(900 + layer));
  RowMatrix weight(30, 7);
  for (Index i = 0; i < weight.size(); ++i) weight.data()[i] = numbers.normal();
  return weight;
}

void expect_equal(const LayerData& actual, const LayerData& expected) {
  for (const Field field : kAllFields) {
    SCOPED_TRACE(field_name(field));
    const Tensor& a = actual[field];
    const Tensor& b = expected[field];
    ASSERT_EQ(a.heads(), b.heads());
    ASSERT_EQ(a.rows(), b.rows());
    ASSERT_EQ(a.columns(), b.columns());
    ASSERT_EQ(a.element_type(), b.element_type());
    EXPECT_EQ(a.scale(), b.scale());
    EXPECT_TRUE(std::ranges::equal(a.bytes(), b.bytes()));
  }
  EXPECT_EQ(actual.query_count, expected.query_count);
}

void rewrite_field(const std::filesystem::path& trace, const std::string& id, Index layer, Field field,
                   const Tensor& elements) {
  const std::string object = layout::field_path(id, layer, field);
  const std::uint64_t place = hdf5::File::open(trace).dataset(object).offset.value();
  const std::span<const std::byte> bytes = elements.bytes();
  std::fstream raw(trace, std::ios::in | std::ios::out | std::ios::binary);
  raw.seekp(static_cast<std::streamoff>(place));
  raw.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  raw.close();
  hdf5::File file = hdf5::File::open_for_change(trace);
  file.set_text(object, "hash", core::content_hash(bytes));
  seal_groups(file, "/");
  file.close();
}

void flip_bit(const std::filesystem::path& path, std::string_view bytes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  const auto place = content.find(bytes);
  ASSERT_NE(place, std::string::npos);
  file.seekp(static_cast<std::streamoff>(place));
  file.put(static_cast<char>(bytes[0] ^ 1));
}

}  // namespace evictlab::trace
