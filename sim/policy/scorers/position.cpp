// Scores that do not look at attention: recency and chance.

#include <random>

#include "core/random.hpp"
#include "sim/policy/parts.hpp"

namespace evictlab::sim {
namespace {

using core::SplitMix64;

class RecencyScorer final : public Scorer {
 public:
  explicit RecencyScorer(Granularity granularity) : granularity_(granularity) {}
  std::string identity() const override { return "recency"; }
  Needs needs() const override { return {}; }
  Granularity granularity() const override { return granularity_; }
  void score(const trace::LayerView& /*layer*/, trace::RowMatrix& scores) const override {
    // Counted from the end: floats hold whole numbers exactly up to 2^24.
    for (Index j = 0; j < scores.cols(); ++j) scores.col(j).setConstant(-static_cast<float>(scores.cols() - 1 - j));
  }

 private:
  Granularity granularity_;
};

// Every (seed, prompt length, layer, kv head) has a SplitMix64 stream of its own, so that draws depend
// neither on the order of layers and prompts nor on threads. One draw per position: 24 bits / 2^24.
class RandomScorer final : public Scorer {
 public:
  explicit RandomScorer(std::uint64_t seed) : seed_(seed) {}
  std::string identity() const override { return "random(seed=" + std::to_string(seed_) + ")"; }
  Needs needs() const override { return {}; }
  Granularity granularity() const override { return Granularity::kKvHead; }
  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const auto number = [](Index value) { return static_cast<std::uint64_t>(value); };
    for (Index head = 0; head < scores.rows(); ++head) {
      std::uint64_t state = SplitMix64(seed_).next();
      for (const Index part : {layer.shape.prompt_length, layer.shape.layer, head}) {
        state = SplitMix64::mix(state + SplitMix64::kIncrement * (number(part) + 1));
      }
      SplitMix64 random(state);
      for (Index j = 0; j < scores.cols(); ++j) scores(head, j) = static_cast<float>(random.next() >> 40U) * 0x1p-24F;
    }
  }

 private:
  std::uint64_t seed_;
};

// torch.rand on the CPU after manual_seed: the low 24 bits of each draw of a Mersenne twister, kv head after kv head. A
// generator begun anew in every layer gives every layer the same numbers.
class TorchRandomScorer final : public Scorer {
 public:
  explicit TorchRandomScorer(std::uint64_t seed) : seed_(seed) {}
  std::string identity() const override { return "torch-random(seed=" + std::to_string(seed_) + ")"; }
  Needs needs() const override { return {}; }
  Granularity granularity() const override { return Granularity::kKvHead; }
  void score(const trace::LayerView& /*layer*/, trace::RowMatrix& scores) const override {
    std::mt19937 generator(static_cast<std::mt19937::result_type>(seed_));
    for (float& score : scores.reshaped<Eigen::RowMajor>()) {
      score = static_cast<float>(generator() & 0xFFFFFFU) * 0x1p-24F;
    }
  }

 private:
  std::uint64_t seed_;
};

}  // namespace

std::shared_ptr<const Scorer> torch_random_scorer(std::uint64_t seed) {
  return std::make_shared<TorchRandomScorer>(seed);
}
std::shared_ptr<const Scorer> recency_scorer(Granularity granularity) {
  return std::make_shared<RecencyScorer>(granularity);
}
std::shared_ptr<const Scorer> random_scorer(std::uint64_t seed) { return std::make_shared<RandomScorer>(seed); }

}  // namespace evictlab::sim
