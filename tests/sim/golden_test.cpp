// What the authors' unmodified code kept on the inputs in data/golden, position by position.
// FFY0/AdaKV and Zefan-Cai/KVCache-Factory, with ties broken by the lower position.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "sim/eviction.hpp"
#include "sim/registry.hpp"
#include "trace/io/hdf5_file.hpp"

namespace evictlab::sim {
namespace {

using trace::hdf5::File;

// A family file's layers with their window attention recomputed from queries and keys.
class GoldenFile {
 public:
  explicit GoldenFile(const std::string& letter)
      : file_(File::open(fmt::format("{}/golden/snapkv_family_{}.h5", EVICTLAB_TEST_DATA, letter))) {
    const auto size = [this](const char* name) { return static_cast<Index>(file_.integer("/", name)); };
    for (Index layer = 0; layer < size("num_layers"); ++layer) {
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
      data.window_attention = attention(data.shape);
      layers_.push_back(std::move(data));
    }
    for (const trace::LayerData& data : layers_) views_.push_back(trace::layer_view(data));
  }

  const File& file() const { return file_; }
  const std::vector<trace::LayerView>& views() const { return views_; }
  const trace::LayerShape& shape() const { return views_.front().shape; }

 private:
  trace::Tensor attention(const trace::LayerShape& shape) const {
    const std::string group = "/layers/" + std::to_string(shape.layer);
    const std::vector<float> query = file_.read<float>(group + "/query");  // [H, w, d]
    const std::vector<float> key = file_.read<float>(group + "/key");      // [G, n, d]
    const Index n = shape.prompt_length;
    const Index d = shape.head_dim;
    const Index w = shape.window;
    trace::Tensor rows(trace::ElementType::kFloat32, shape.query_heads, w, n);
    for (Index h = 0; h < shape.query_heads; ++h) {
      const trace::RowMatrixView q(query.data() + h * w * d, w, d, Eigen::OuterStride<>(d));
      const trace::RowMatrixView k(key.data() + shape.kv_head_of(h) * n * d, n, d, Eigen::OuterStride<>(d));
      const Eigen::MatrixXd logits = shape.attention_scale * (q.cast<double>() * k.cast<double>().transpose());
      for (Index t = 0; t < w; ++t) {
        const Index seen = n - w + t + 1;
        Eigen::RowVectorXd row = Eigen::RowVectorXd::Zero(n);
        row.head(seen) = (logits.row(t).head(seen).array() - logits.row(t).head(seen).maxCoeff()).exp();
        row /= row.sum();
        const Eigen::RowVectorXf stored = row.cast<float>();
        rows.set_row(h, t, {stored.data(), static_cast<std::size_t>(n)});
      }
    }
    return rows;
  }

  File file_;
  std::vector<trace::LayerData> layers_;
  std::vector<trace::LayerView> views_;
};

const GoldenFile& golden_file(const std::string& letter) {
  static std::map<std::string, GoldenFile> files;
  return files.try_emplace(letter, letter).first->second;
}

// How our policies are asked for what a golden's parameters say. Golden capacities count positions per head.
struct Request {
  std::string policy;
  Index slots = 0;
};
Request request_for(const nlohmann::json& params, const trace::LayerShape& shape) {
  const auto capacity = params.at("max_capacity_prompt").get<Index>();
  const std::string algo = params.at("algo");
  if (algo == "slm_adakv") return {"streaming-llm", capacity};
  if (algo == "slm_kvcf") {
    return {fmt::format("streaming-llm(sinks={})", capacity - params.at("window").get<Index>()), capacity};
  }
  const bool per_kv_head = params.contains("gqa");
  const std::string pooling = params.at("pooling") == "maxpool" ? "max" : "avg";
  return {fmt::format("snapkv(window={},kernel={},pooling={},axis={},reduction={})", params.at("window").get<Index>(),
                      params.at("kernel").get<Index>(), pooling, per_kv_head ? "kv" : "query",
                      per_kv_head ? params.at("gqa").get<std::string>() : "mean"),
          per_kv_head ? capacity : capacity * shape.group_size()};
}

class Golden : public ::testing::TestWithParam<std::pair<std::string, std::string>> {};

TEST_P(Golden, KeepsWhatTheAuthorsCodeKept) {
  const auto& [letter, name] = GetParam();
  const GoldenFile& golden = golden_file(letter);
  const std::string group = "/golden/" + name;
  const auto params = nlohmann::json::parse(golden.file().text(group, "params"));
  const Request request = request_for(params, golden.shape());
  const Policy policy = make_policy(request.policy);
  const Retention retention = evict(policy, golden.views(), static_cast<double>(request.slots));

  const bool stable = golden.file().exists(group + "/kept_stable");
  const auto kept = golden.file().read<std::uint8_t>(group + (stable ? "/kept_stable" : "/kept"));  // [L, heads, n]
  const auto budgets = golden.file().read<std::int32_t>(group + "/budgets");  // [L], window included
  const Index n = golden.shape().prompt_length;
  const Index layers = golden.shape().layers;
  const Index heads = static_cast<Index>(kept.size()) / (layers * n);
  ASSERT_EQ(static_cast<Index>(retention.layers.size()), layers);
  for (Index layer = 0; layer < layers; ++layer) {
    const LayerRetention& ours = retention.layers[static_cast<std::size_t>(layer)];
    for (Index head = 0; head < heads; ++head) {
      const std::uint8_t* row = kept.data() + (layer * heads + head) * n;
      std::vector<std::int32_t> theirs;
      for (Index j = 0; j < n; ++j) {
        if (row[j] != 0) theirs.push_back(static_cast<std::int32_t>(j));
      }
      // Where the authors hold a set per query head and we one per kv head (streaming-llm), heads share ours.
      const Index set = head * ours.sets() / heads;
      ASSERT_EQ(ours.kept_ascending(set), theirs) << name << " layer " << layer << " head " << head;
      ASSERT_EQ(static_cast<std::int32_t>(theirs.size()), budgets[static_cast<std::size_t>(layer)]);
    }
  }
}

std::vector<std::pair<std::string, std::string>> golden_cases() {
  const std::vector<std::string> everywhere = {"adakv_snapkv_s1",       "adakv_snapkv_s2", "adakv_snapkv_early_exit",
                                               "adakv_snapkv_cap_eq_n", "kvcf_snapkv_s1",  "kvcf_snapkv_s2",
                                               "adakv_slm_s1",          "adakv_slm_s2",    "kvcf_streamingllm_s1",
                                               "kvcf_streamingllm_s2"};
  const std::vector<std::string> grouped = {"adakv_snapkv_gqa_mean_s1", "adakv_snapkv_gqa_mean_s2",
                                            "adakv_snapkv_gqa_max_s1",  "adakv_snapkv_gqa_max_s2",
                                            "kvcf_snapkv_gqa_mean_s1",  "kvcf_snapkv_gqa_sum_s2"};
  std::vector<std::pair<std::string, std::string>> cases;
  for (const char* letter : {"A", "B", "C"}) {
    for (const std::string& name : everywhere) cases.emplace_back(letter, name);
    if (*letter == 'A') continue;  // one query head per kv head
    for (const std::string& name : grouped) cases.emplace_back(letter, name);
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(SnapKvFamily, Golden, ::testing::ValuesIn(golden_cases()),
                         [](const auto& golden) { return golden.param.first + "_" + golden.param.second; });

}  // namespace
}  // namespace evictlab::sim
