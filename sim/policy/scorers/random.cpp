// Scores by chance, uniform in [0, 1), from a seed.

#include <limits>
#include <random>

#include "core/random.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

using core::SplitMix64;

// Every (seed, prompt length, layer, kv head) has a SplitMix64 stream of its own, so that draws depend
// neither on the order of layers and prompts nor on threads. One draw per position: 24 bits / 2^24.
class RandomScorer final : public Scorer {
 public:
  explicit RandomScorer(std::uint64_t seed) : seed_(seed) {}
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

ParameterList seed_parameters() {
  ParameterList parameters;
  return parameters.integer("seed", 1, {0, std::numeric_limits<std::int64_t>::max()}, "of the random streams");
}

std::uint64_t seed_from(const Parameters& given) { return static_cast<std::uint64_t>(given.integer("seed")); }

}  // namespace

ScorerDefinition random_scorer() {
  return {.description = "chance", .parameters = seed_parameters(), .make = [](const Parameters& given) {
            return std::make_unique<RandomScorer>(seed_from(given));
          }};
}

ScorerDefinition torch_random_scorer() {
  return {.description = "chance, the same in every layer (kvpress)",
          .parameters = seed_parameters(),
          .offered = false,
          .make = [](const Parameters& given) { return std::make_unique<TorchRandomScorer>(seed_from(given)); }};
}

}  // namespace evictlab::sim
