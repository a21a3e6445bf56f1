// What a running model's cache holds under a policy is what replay says of its recording.

#include <algorithm>
#include <memory>
#include <set>

#include "../random_model.hpp"
#include "runtime/live/prompt_eviction.hpp"
#include "runtime/recorder.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/prompt_replay.hpp"
#include "testing/temporary_directory.hpp"
#include "trace/io/reader.hpp"

namespace evictlab::runtime {
namespace {

constexpr Index kPromptLength = 150;

/// A model, a prompt, and its recording in the full tier with float32.
struct Case {
  testing::TemporaryDirectory directory;
  std::unique_ptr<Transformer> model;
  trace::ModelInfo info;
  TokenizedPrompt prompt{"p", "task", "here", {}, {}, 0, {}};
  std::unique_ptr<trace::TraceReader> trace;

  explicit Case(const std::string& name) {
    const bool random = name == "nine-layers";
    model = std::make_unique<Transformer>(random ? testing::write_random_model(directory / "model")
                                                 : testing::kCheckpoints / name);
    info = model_info(*model);
    const auto vocabulary = static_cast<int>(model->config().vocab_size);
    prompt.tokens = testing::random_tokens(kPromptLength, vocabulary);
    prompt.future = testing::random_tokens(6, vocabulary, 99);
    trace::TraceWriter writer({.path = directory / "t.h5"}, info);
    for (Index layer = 0; layer < info.layers; ++layer) writer.write_output_weight(layer, model->output_weight(layer));
    record_prompt(
        *model, prompt,
        {.tier = trace::Tier::kFull, .window = 64, .dtype = trace::ElementType::kFloat32, .layers = {}, .sampling = {}},
        writer, [](double) {});
    writer.finish();
    trace = std::make_unique<trace::TraceReader>(directory / "t.h5");
  }

  trace::LayerData layer_data(Index layer) const {
    trace::LayerData data = trace->layer(0, layer, trace::kFullFields);
    data.output_weight = std::make_shared<const trace::RowMatrix>(trace->output_weight(layer));
    return data;
  }

  sim::Retention replayed(const sim::Policy& policy, double slots) const {
    sim::Eviction eviction(policy, info.layers, slots);
    for (Index layer = 0; layer < info.layers; ++layer) {
      const trace::LayerData data = layer_data(layer);
      eviction.observe(trace::layer_view(data));
    }
    return eviction.finish();
  }
};

const Case& recorded(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Case>> cases;
  auto& one = cases[name];
  if (!one) one = std::make_unique<Case>(name);
  return *one;
}

/// A policy's cache after the prompt.
struct Live {
  KvCache cache;
  PromptEviction eviction;
  std::vector<float> logits;

  Live(const Case& one, const sim::Policy& policy, double slots)
      : cache(one.model->make_cache(kPromptLength)),
        eviction(*one.model, one.info, policy, slots, kPromptLength, cache) {
    logits = one.model->forward(one.prompt.tokens, cache, eviction.observer());
    eviction.finish();
  }
};

std::vector<std::string> live_policies() {
  std::vector<std::string> texts;
  for (const sim::PolicyInfo& policy : sim::policies()) {
    if (policy.definition.from_file) continue;
    const sim::Policy made = sim::make_policy(policy.name);
    if (made.needs().future) continue;  // the oracle
    // What a pass after the prompt measures cannot evict while the prompt is read.
    if (made.needs().fields.contains(trace::Field::kRepeatAttention)) continue;
    texts.push_back(policy.name);
    for (const sim::Variant& variant : policy.definition.variants) {
      if (variant.name != policy.definition.variants.front().name) {
        texts.push_back(policy.name + "(variant=" + variant.name + ")");
      }
    }
    for (const sim::Parameter& parameter : policy.definition.parameters.all()) {
      if (parameter.name == "axis") texts.push_back(policy.name + "(axis=query)");
    }
  }
  return texts;
}

class EveryLivePolicy : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  const Case& one() const { return recorded(std::get<0>(GetParam())); }
  sim::Policy policy() const { return sim::make_policy(std::get<1>(GetParam())); }
  bool feasible(const sim::Policy& policy, double slots) const {
    return sim::is_feasible(policy, trace::layer_shape(one().info, one().trace->prompts()[0], 0), slots);
  }
  /// A third of the prompt, or as much more as what is protected needs.
  double few_slots(const sim::Policy& policy) const {
    double slots = 48.0;
    while (!feasible(policy, slots)) slots += 16.0;
    return slots;
  }
  Index group() const { return one().info.query_heads / one().info.kv_heads; }
  void SetUp() override {
    if (policy().name == "expected-attention" &&
        !trace::layer_shape(one().info, one().trace->prompts()[0], 0).rope_theta) {
      GTEST_SKIP() << "knows plain rotary encoding only";
    }
  }
};

std::vector<std::int32_t> as_vector(std::span<const std::int32_t> values) { return {values.begin(), values.end()}; }

TEST_P(EveryLivePolicy, HoldsTheReplayedPositionsInTheSameOrder) {
  const sim::Policy policy = this->policy();
  for (const double slots : {36.0, 48.0, 80.0, 147.0}) {
    if (!feasible(policy, slots)) continue;
    const Live live(one(), policy, slots);
    const sim::Retention expected = one().replayed(policy, slots);
    for (Index layer = 0; layer < one().info.layers; ++layer) {
      const sim::LayerRetention& kept = expected.layers[static_cast<std::size_t>(layer)];
      const Index sharing = live.cache.heads(layer) / kept.sets();
      for (Index head = 0; head < live.cache.heads(layer); ++head) {
        ASSERT_EQ(as_vector(live.cache.positions(layer, head)), as_vector(kept.kept(head / sharing)))
            << policy.text() << " at " << slots << ", layer " << layer << ", head " << head;
      }
    }
  }
}

// n slots of the layer being read besides what is left of the layers before it, as the formulas of the methods'
// memory say. Where query heads get slots of their own, keys are split before values: W slots whole and K kept are
// W + K/2 at first, W/2 + K then.
TEST_P(EveryLivePolicy, HoldsAtMostTheBytesThatReplaySays) {
  const sim::Policy policy = this->policy();
  const double slots = few_slots(policy);
  const Live live(one(), policy, slots);
  sim::Eviction eviction(policy, one().info.layers, slots);
  double peak = 0.0;
  for (Index layer = 0; layer < one().info.layers; ++layer) {
    peak = std::max(peak, eviction.held_slots() + kPromptLength);
    const trace::LayerData data = one().layer_data(layer);
    eviction.observe(trace::layer_view(data));
    if (policy.granularity != sim::Granularity::kQueryHead || group() == 1) continue;
    const sim::HeldLayer& held = eviction.held(static_cast<std::size_t>(layer));
    double own = 0.0;
    for (Index set = 0; set < held.sets(); ++set) own += static_cast<double>(held.stored(set));
    own /= static_cast<double>(one().info.kv_heads);
    const double others = eviction.held_slots() - own;
    peak = std::max(peak, others + std::max(kPromptLength + own / 2, kPromptLength / 2.0 + own));
  }
  const sim::Retention kept = eviction.finish();
  const auto slot_bytes = static_cast<double>(2 * one().info.head_dim) * sizeof(float);
  const auto heads = static_cast<double>(one().info.kv_heads);
  EXPECT_EQ(static_cast<double>(live.cache.peak_bytes()), peak * heads * slot_bytes);
  EXPECT_EQ(static_cast<double>(live.cache.allocated_bytes()), eviction.held_slots() * heads * slot_bytes);
  EXPECT_EQ(live.cache.allocated_bytes(), live.cache.held_bytes());
}

TEST_P(EveryLivePolicy, LeavesTheFirstTokenToTheFullCache) {
  const sim::Policy policy = this->policy();
  KvCache cache = one().model->make_cache(kPromptLength);
  EXPECT_EQ(Live(one(), policy, few_slots(policy)).logits, one().model->forward(one().prompt.tokens, cache));
}

std::string test_name(const ::testing::TestParamInfo<EveryLivePolicy::ParamType>& info) {
  std::string name = std::get<0>(info.param) + "_" + std::get<1>(info.param);
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(Registry, EveryLivePolicy,
                         ::testing::Combine(::testing::Values("nine-layers", "gqa-f32", "mistral-default-f16",
                                                              "llama3-rope-tied-f16-sharded", "mha-biases-bf16",
                                                              "qwen2-gqa-tied-bf16"),
                                            ::testing::ValuesIn(live_policies())),
                         test_name);

/// The most slots per head that were held while a model of nine layers and four heads of their own read the prompt.
double peak_slots(const std::string& text, double slots) {
  static const testing::TemporaryDirectory directory;
  static const Transformer model(testing::write_random_model(directory / "model", {.kv_heads = 4}));
  static const trace::ModelInfo info = model_info(model);
  const sim::Policy policy = sim::make_policy(text);
  KvCache cache = model.make_cache(kPromptLength);
  PromptEviction eviction(model, info, policy, slots, kPromptLength, cache);
  model.forward(testing::random_tokens(kPromptLength, 64), cache, eviction.observer());
  eviction.finish();
  return static_cast<double>(cache.peak_bytes()) / static_cast<double>(4 * 2 * info.head_dim * 4);
}

// L = 9, n = 150. A uniform budget C: n + C (L - 1).
TEST(PeakMemory, OfUniformBudgetsIsOneWholeLayerBesidesTheOthersBudgets) {
  EXPECT_EQ(peak_slots("snapkv", 48), 150 + 48 * 8);
  EXPECT_EQ(peak_slots("h2o", 40), 150 + 40 * 8);
  EXPECT_EQ(peak_slots("full", 40), 150 * 9);
}

// Cascading never holds more than n + T + (L - 1) w, with T = (C - w) L; one cut after the last layer holds n L.
TEST(PeakMemory, OfCakeIsTheWholeBudgetAndTheLayerBeingRead) {
  const double bound = 150 + (48 - 32) * 9 + 8 * 32;
  EXPECT_LE(peak_slots("cake", 48), bound);
  EXPECT_GE(peak_slots("cake", 48), bound - 9);  // what rounding drops
  EXPECT_EQ(peak_slots("cake(cascading=no)", 48), 150 * 9);
}

// base = C - w = 40, bs = min(10 base, n - w) = 142: nothing is cut before the first update, and the second begins with
// n + base L + 3 bs + 7 w.
TEST(PeakMemory, OfDynamicKvIsJustBeforeAnUpdate) {
  EXPECT_EQ(peak_slots("dynamickv(window=8)", 48), 150 + 40 * 9 + 3 * 142 + 7 * 8);
}

TEST(LiveEviction, WithAFullBudgetLogitsAreThoseOfThePlainRuntimeBitForBit) {
  const Case& one = recorded("nine-layers");
  KvCache plain = one.model->make_cache(kPromptLength + 6);
  one.model->forward(one.prompt.tokens, plain);
  for (const char* text : {"full", "snapkv", "h2o(axis=query)", "tova", "cake"}) {
    const sim::Policy policy = sim::make_policy(text);
    Live live(one, policy, 2 * kPromptLength);  // query heads share the slots of their kv head
    live.cache.make_room(6);
    KvCache expected = plain;
    for (const std::int32_t token : one.prompt.future) {
      ASSERT_EQ(one.model->forward({&token, 1}, live.cache), one.model->forward({&token, 1}, expected)) << text;
    }
  }
}

// Keeping two positions of a head and asking it: what it says is the softmax over these two and the new one.
TEST(LiveEviction, DecodingAttendsToWhatIsHeldAndNothingElse) {
  const Case& one = recorded("nine-layers");
  const sim::Policy policy = sim::make_policy("streaming-llm(sinks=1)");
  Live live(one, policy, 3);
  struct Watch : ForwardObserver {
    void on_attention(Index, Index, Index first, const RowMatrixView& rows) override {
      EXPECT_EQ(first, kPromptLength);
      EXPECT_EQ(rows.cols(), 4);
      EXPECT_NEAR(rows.row(0).sum(), 1.0F, 1e-5F);
    }
  } watch;
  live.cache.make_room(1);
  one.model->forward({one.prompt.future.data(), 1}, live.cache, &watch);
  EXPECT_THAT(as_vector(live.cache.positions(8, 1)), ::testing::ElementsAre(0, 149, 148, 150));
}

TEST(LiveEviction, RefusesPoliciesThatReadTheFuture) {
  const std::vector<sim::Policy> oracle{sim::make_policy("oracle")};
  EXPECT_THROW(live_needs(oracle), sim::PolicyError);
}

}  // namespace
}  // namespace evictlab::runtime
