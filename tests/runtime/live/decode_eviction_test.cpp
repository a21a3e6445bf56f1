// Eviction while a model decodes, by the rules that replay steps through recorded queries.

#include "runtime/live/decode_eviction.hpp"

#include <algorithm>
#include <memory>

#include "../random_model.hpp"
#include "runtime/live/prompt_eviction.hpp"
#include "sim/policy/decoding.hpp"
#include "sim/policy/registry.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::runtime {
namespace {

constexpr Index kLength = 100;
constexpr Index kSteps = 8;

const Transformer& model() {
  static const testing::TemporaryDirectory directory;
  static const Transformer model(testing::write_random_model(directory / "model", {.layers = 4}));
  return model;
}

const trace::ModelInfo& info() {
  static const trace::ModelInfo info = model_info(model());
  return info;
}

/// A prompt and kSteps tokens after it, read by the full cache: what replay would have recorded of the first layer,
/// whose states no eviction changes.
struct FirstLayer {
  trace::PromptInfo prompt;
  trace::LayerData data;

  explicit FirstLayer(const std::vector<std::int32_t>& tokens) {
    prompt = live_prompt(kLength, {{}, 32, false}, info().layers);
    KvCache cache = model().make_cache(kLength + kSteps);
    std::vector<trace::Tensor> window;
    PromptGathering reading(model(), info(), prompt, {trace::kFullFields.without(trace::Field::kOutputNorms)},
                            [&](trace::LayerData&& layer) {
                              window.push_back(layer.queries);
                              if (layer.shape.layer == 0) data = std::move(layer);
                            });
    model().forward(std::span(tokens).first(kLength), cache, &reading);
    prompt.future_length = kSteps;
    FutureGathering future(model(), info(), prompt, {trace::kFullFields}, std::move(window),
                           [&](trace::LayerData&& layer) {
                             if (layer.shape.layer != 0) return;
                             for (const trace::Field field : trace::kAllFields) {
                               if (!layer[field].empty()) data[field] = layer[field];
                             }
                             data.shape = layer.shape;
                           });
    model().forward(std::span(tokens).subspan(kLength), cache, &future);
  }
};

class EveryDecodeRule : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryDecodeRule, LeavesInTheFirstLayerWhatReplayLeaves) {
  const sim::Policy policy = sim::make_policy(GetParam());
  const std::vector<std::int32_t> tokens = testing::random_tokens(kLength + kSteps, 64);
  KvCache cache = model().make_cache(kLength);
  PromptEviction prompt(model(), info(), policy, 48.0, kLength, cache);
  model().forward(std::span(tokens).first(kLength), cache, prompt.observer());
  prompt.finish();
  const sim::Retention kept = prompt.eviction().retention();
  cache.make_room(1);
  DecodeEviction decoding(policy, prompt.gathered(), kept, cache);
  for (Index step = 0; step < kSteps; ++step) {
    model().forward(std::span(tokens).subspan(static_cast<std::size_t>(kLength + step), 1), cache, &decoding);
    for (Index layer = 0; layer < info().layers; ++layer) {
      for (Index head = 0; head < cache.heads(layer); ++head) {
        const auto limit = std::ranges::max(kept.layers[static_cast<std::size_t>(layer)].budgets);
        ASSERT_LE(cache.length(layer, head), limit) << "layer " << layer << ", step " << step;
      }
    }
  }

  FirstLayer recorded(tokens);
  const trace::LayerView view = trace::layer_view(recorded.data);
  const trace::FutureView future = trace::future_view(recorded.data);
  const sim::DecodedLayer expected = sim::decode_layer(*policy.decoding, view, future, policy.granularity,
                                                       policy.ranges(view.shape), policy.protection, kept.layers[0]);
  const Index sharing = cache.heads(0) / static_cast<Index>(expected.stored.size());
  for (Index head = 0; head < cache.heads(0); ++head) {
    const auto held = cache.positions(0, head);
    ASSERT_EQ(std::vector<std::int32_t>(held.begin(), held.end()),
              expected.stored[static_cast<std::size_t>(head / sharing)]);
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, EveryDecodeRule,
                         ::testing::Values("h2o(decode=yes)", "h2o(decode=yes,variant=h2o)", "tova(decode=yes)",
                                           "streaming-llm(decode=yes)", "cake(decode=yes)",
                                           "streaming-llm(decode=yes,axis=query)"));

TEST(DecodeEviction, GoesTokenByToken) {
  const sim::Policy policy = sim::make_policy("tova(decode=yes)");
  const std::vector<std::int32_t> tokens = testing::random_tokens(kLength + 2, 64);
  KvCache cache = model().make_cache(kLength);
  PromptEviction prompt(model(), info(), policy, 48.0, kLength, cache);
  model().forward(std::span(tokens).first(kLength), cache, prompt.observer());
  prompt.finish();
  cache.make_room(2);
  DecodeEviction decoding(policy, prompt.gathered(), prompt.eviction().retention(), cache);
  EXPECT_THROW(model().forward(std::span(tokens).subspan(kLength), cache, &decoding), std::logic_error);
}

}  // namespace
}  // namespace evictlab::runtime
