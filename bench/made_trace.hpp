#pragma once

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "core/random.hpp"
#include "trace/io/writer.hpp"

// A trace of one prompt of an 8B model's heads, summary tier, made for benches; EVICTLAB_BENCH_LENGTH and _LAYERS
// change its size.

namespace evictlab::bench {

namespace fs = std::filesystem;

inline trace::Index from_environment(const char* name, trace::Index otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atol(text);
}

// Attention as trained models have it, as far as selection cares: positive, over many orders of magnitude, without
// ties, a few positions much liked by window and future alike.
class Attention {
 public:
  explicit Attention(std::uint64_t seed) : random_(seed), noise_(4096) {
    for (float& value : noise_) value = std::exp(static_cast<float>(normal()));
  }
  std::vector<float> liking(trace::Index positions) {
    std::vector<float> row(static_cast<std::size_t>(positions));
    for (float& value : row) value = std::exp(2.0F * static_cast<float>(normal()));
    return row;
  }
  // The liking with noise, of sum `total`.
  std::vector<float> noisy(const std::vector<float>& liking, double total) {
    std::vector<float> row(liking.size());
    double sum = 0.0;
    for (std::size_t j = 0; j < row.size(); ++j) {
      const std::uint64_t bits = random_.next();
      row[j] = liking[j] * noise_[bits % noise_.size()] * (1.0F + 0x1p-24F * static_cast<float>(bits >> 44U));
      sum += row[j];
    }
    for (float& value : row) value *= static_cast<float>(total / sum);
    return row;
  }

 private:
  double normal() {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) sum += random_.uniform();
    return sum;
  }
  core::SplitMix64 random_;
  std::vector<float> noise_;
};

inline trace::MemoryTrace::Prompt made_prompt(const trace::ModelInfo& model, trace::PromptInfo info) {
  trace::MemoryTrace::Prompt prompt;
  Attention attention(1);
  const trace::Index n = info.prompt_length;
  const trace::Index positions = n + info.future_length;
  for (trace::Index l = 0; l < model.layers; ++l) {
    info.layers.push_back(l);
    trace::LayerData layer;
    layer.shape = trace::layer_shape(model, info, l);
    using trace::ElementType;
    layer.window_attention =
        trace::Tensor(ElementType::kFloat16, model.query_heads, info.window, n, trace::kWindowAttentionScale);
    layer.attention_mass = trace::Tensor(ElementType::kFloat32, model.query_heads, 1, n);
    layer.future_mass = trace::Tensor(ElementType::kFloat32, model.query_heads, 1, positions);
    layer.output_norms = trace::Tensor(ElementType::kFloat32, model.query_heads, 1, positions);
    for (trace::Index h = 0; h < model.query_heads; ++h) {
      const std::vector<float> prompt_liking = attention.liking(n);
      std::vector<float> liking = prompt_liking;
      liking.resize(static_cast<std::size_t>(positions), 1.0F);
      for (trace::Index t = 0; t < info.window; ++t) {
        const auto seen = static_cast<std::size_t>(n - info.window + t + 1);
        std::vector<float> row = attention.noisy({prompt_liking.begin(), prompt_liking.begin() + seen}, 1.0);
        row.resize(static_cast<std::size_t>(n));
        layer.window_attention.set_row(h, t, row);
      }
      std::vector<float> by_queries = prompt_liking;  // more of them see an earlier position
      for (std::size_t j = 0; j < by_queries.size(); ++j) by_queries[j] *= static_cast<float>(by_queries.size() - j);
      layer.attention_mass.set_row(h, 0, attention.noisy(by_queries, static_cast<double>(n)));
      layer.future_mass.set_row(h, 0, attention.noisy(liking, static_cast<double>(info.future_length)));
      layer.output_norms.set_row(h, 0, attention.liking(positions));
    }
    prompt.layers.push_back(std::move(layer));
  }
  prompt.info = std::move(info);
  prompt.tokens.resize(static_cast<std::size_t>(positions));
  return prompt;
}

/// A trace file of one such prompt: made once, removed at the end.
class MadeTrace {
 public:
  MadeTrace() : directory_(fs::temp_directory_path() / ("evictlab-bench-" + std::to_string(getpid()))) {
    trace::ModelInfo model;
    model.name = model.architecture = model.fingerprint = "made";
    model.layers = from_environment("EVICTLAB_BENCH_LAYERS", 4);
    model.query_heads = 32;
    model.kv_heads = 8;
    model.head_dim = 128;
    model.hidden_size = 4096;
    model.attention_scale = 0.088;
    model.position_encoding = "none";
    model.sliding_windows.assign(static_cast<std::size_t>(model.layers), 0);
    trace::PromptInfo info;
    info.id = "made";
    info.prompt_length = from_environment("EVICTLAB_BENCH_LENGTH", 32768);
    info.future_length = 32;
    info.future_kind = "teacher-forced";
    info.window = 32;
    fs::create_directories(directory_);
    trace::TraceWriter writer({.path = directory_ / "trace.h5"}, model);
    writer.write_prompt(made_prompt(model, std::move(info)));
    path_ = writer.finish();
  }
  ~MadeTrace() { fs::remove_all(directory_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path directory_;
  fs::path path_;
};

}  // namespace evictlab::bench
