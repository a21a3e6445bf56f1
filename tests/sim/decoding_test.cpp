// Eviction while the answer is generated: each rule on a case worked by hand, and what holds for all of them.

#include "sim/policy/decoding.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "analysis/losses.hpp"
#include "hand_made.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/eviction.hpp"
#include "sim/replay/replay.hpp"
#include "trace/synthetic.hpp"

namespace evictlab::sim {
namespace {

using ::testing::ElementsAre;
using testing::tensor;

// One head of dimension 1 whose queries are all 1, so that the keys are the logits: four prompt positions with weights
// 1 : 2 : 4 : 8, and three future ones with 1/2 each. Two rows of the window, mass 3 of the prompt's queries on each.
class OneHead {
 public:
  OneHead() {
    const float ln2 = std::log(2.0F);
    layer_.shape = {.layer = 0,
                    .layers = 1,
                    .query_heads = 1,
                    .kv_heads = 1,
                    .head_dim = 1,
                    .prompt_length = 4,
                    .future_length = 3,
                    .window = 1,
                    .attention_scale = 1.0};
    layer_.queries = tensor(1, 4, 1, {1, 1, 1, 1});
    layer_.keys = tensor(1, 7, 1, {0, ln2, 2 * ln2, 3 * ln2, -ln2, -ln2, -ln2});
    layer_.attention_mass = tensor(1, 1, 4, {3, 3, 3, 3});
  }

  DecodedLayer decode(const std::shared_ptr<const DecodeRule>& rule, const Protection& protection,
                      std::vector<std::int32_t> stored, std::int32_t limit) const {
    LayerRetention kept;
    kept.offsets = {0, static_cast<std::int64_t>(stored.size())};
    kept.positions = std::move(stored);
    kept.budgets = {limit};
    return decode_layer(*rule, trace::layer_view(layer_), trace::future_view(layer_), Granularity::kKvHead,
                        PositionRanges(layer_.shape, protection), protection, kept);
  }

 private:
  trace::LayerData layer_;
};

TEST(Tova, WhatTheNewQueryPaysLeastLeavesEvenWhenItIsTheNewest) {
  // Of 1, 2, 3 (weights 2 : 4 : 8) and the new 4 (1/2), 4 leaves, as 5 and 6 after it.
  const DecodedLayer open = OneHead().decode(make_decoder({"tova"}), {}, {1, 2, 3}, 3);
  EXPECT_THAT(open.evicted[0], ElementsAre(4, 5, 6));
  EXPECT_THAT(open.stored[0], ElementsAre(1, 2, 3));
  // The last one protected, position 1 leaves; then of 2, 3, 4 it is 4, no longer the last; then 5.
  const DecodedLayer last = OneHead().decode(make_decoder({"tova"}), {0, 1}, {1, 2, 3}, 3);
  EXPECT_THAT(last.evicted[0], ElementsAre(1, 4, 5));
  EXPECT_THAT(last.until[0], ElementsAre(0, 1, 3, 3, 2, 3, 3));  // 1 is found by query 0 alone; 4 by 0 and 1
}

TEST(StreamingLlm, TheOldestBehindTheSinksLeaves) {
  const DecodedLayer decoded = OneHead().decode(make_decoder({"streaming-llm"}), {1, 0}, {0, 2, 3}, 3);
  EXPECT_THAT(decoded.evicted[0], ElementsAre(2, 3, 4));
  EXPECT_THAT(decoded.stored[0], ElementsAre(0, 5, 6));
}

TEST(H2o, WhatHasBeenPaidLeastSoFarLeavesOutsideTheRecentHalf) {
  // Stored 0, 3 with mass 3 each, limit 2, recent half: 1. Query 0 sees 0, 3, 4 with 1 : 8 : 1/2, so 0 has 3.105, 3
  // has 3.842, and 4 is recent: 0 leaves. Query 1 sees 3, 4, 5: 4 has at most 1.1, so 4 leaves; then 5.
  const DecodedLayer decoded = OneHead().decode(make_decoder({"h2o", {{"recent_part", 0.5}}}), {}, {0, 3}, 2);
  EXPECT_THAT(decoded.evicted[0], ElementsAre(0, 4, 5));
  // Without anything recent the new position, paid least, leaves at once.
  EXPECT_THAT(OneHead().decode(make_decoder({"h2o", {{"recent_part", 0.0}}}), {}, {0, 3}, 2).evicted[0],
              ElementsAre(4, 5, 6));
}

TEST(Cake, TheNewQueryPooledOverStorageOrderDecidesAndTheLastStoredStay) {
  // Recorded 3 with a window of 1: two chosen. Stored 3, 0, 2 (the last is the window) and the new 4: scored are
  // 3, 0, 2 with 8 : 1 : 4, averaged over 3 with zeros outside: 9 : 13 : 5, so 0 and 3 stay, in this order, then 4.
  const DecodedLayer pooled = OneHead().decode(make_decoder({"cake", {{"kernel", 3}}}), {0, 1}, {3, 0, 2}, 3);
  EXPECT_EQ(pooled.evicted[0][0], 2);
  // Without neighbours 8 : 1 : 4: 0 leaves; then of 3, 2, 4 it is 4, which has left the window; then 5.
  const DecodedLayer alone = OneHead().decode(make_decoder({"cake", {{"kernel", 1}}}), {0, 1}, {3, 0, 2}, 3);
  EXPECT_THAT(alone.evicted[0], ElementsAre(0, 4, 5));
  EXPECT_THAT(alone.stored[0], ElementsAre(3, 2, 6));
}

TEST(Cake, ASetBelowItsRecordedBudgetGrowsFirstAndAnEarlyExitIsCutAtOnce) {
  const DecodedLayer grows = OneHead().decode(make_decoder({"cake", {{"kernel", 1}}}), {0, 1}, {3, 0}, 4);
  EXPECT_THAT(grows.evicted[0], ElementsAre(-1, -1, 5));  // five stored at the third step; of 4 and 5 alike, 5
  const DecodedLayer cut = OneHead().decode(make_decoder({"cake", {{"kernel", 1}}}), {0, 1}, {0, 1, 2, 3}, 2);
  EXPECT_EQ(cut.evicted[0][0], -1);  // three leave at once
  EXPECT_THAT(cut.until[0], ElementsAre(1, 1, 1, 3, 2, 3, 3));
}

// ---- on synthetic layers -------------------------------------------------------------------------------------------

trace::MemoryTrace synthetic() {
  trace::SyntheticOptions options;
  options.prompts = 2;
  options.layers = 3;
  options.length = 80;
  options.future = 20;
  options.window = 16;
  options.sliding_window = 50;
  options.element_type = trace::ElementType::kFloat32;
  return synthesize(options);
}

const std::vector<std::string>& decoding_policies() {
  static const std::vector<std::string> all = {"h2o(decode=yes,window=8)",
                                               "h2o(decode=yes,variant=h2o)",
                                               "tova(decode=yes)",
                                               "tova(decode=yes,variant=tova)",
                                               "streaming-llm(decode=yes)",
                                               "cake(decode=yes,window=8)",
                                               "cake(decode=yes,window=8,variant=paper)"};
  return all;
}

TEST(Decoding, SetsStayAtTheirBudgetAndOneLeavesPerStepNeverAProtectedOne) {
  const trace::MemoryTrace trace = synthetic();
  for (const std::string& text : decoding_policies()) {
    const Policy policy = make_policy(text);
    for (Index l = 0; l < 3; ++l) {
      const trace::LayerData layer = trace.layer(0, l, trace.prompts()[0].recorded());
      const std::vector<trace::LayerView> view = {trace::layer_view(layer)};
      const LayerRetention kept = evict(policy, view, 24).layers.front();
      const PositionRanges ranges = policy.ranges(layer.shape);
      const DecodedLayer decoded = decode_layer(*policy.decoding, view.front(), trace::future_view(layer),
                                                policy.granularity, ranges, policy.protection, kept);
      for (std::size_t set = 0; set < decoded.stored.size(); ++set) {
        EXPECT_LE(static_cast<Index>(decoded.stored[set].size()), kept.budgets[set]) << text;
        std::vector<Index> held(20, 0);
        for (std::size_t j = 0; j < decoded.until[set].size(); ++j) {
          const auto arrives = std::max<std::int32_t>(0, static_cast<std::int32_t>(j) - 80);
          for (auto t = arrives; t < decoded.until[set][j]; ++t) ++held[static_cast<std::size_t>(t)];
        }
        for (std::size_t t = 0; t < 20; ++t) {
          // A query finds what was held and its own position.
          EXPECT_LE(held[t], kept.budgets[set] + 1) << text << " step " << t;
          const std::int32_t gone = decoded.evicted[set][t];
          if (gone < 0) continue;
          EXPECT_LE(gone, static_cast<std::int32_t>(80 + t) - static_cast<std::int32_t>(policy.protection.recent));
          if (l % 2 == 0) {
            EXPECT_GE(gone, static_cast<std::int32_t>(policy.protection.sinks));
          }
        }
      }
    }
  }
}

TEST(Decoding, NeverEvictingAnythingLosesWhatThePromptsEvictionAloneLoses) {
  const trace::MemoryTrace trace = synthetic();
  for (Index l = 0; l < 3; ++l) {
    const trace::LayerData layer = trace.layer(1, l, trace.prompts()[0].recorded());
    const trace::FutureView future = trace::future_view(layer);
    const trace::RowMatrix weight = trace.output_weight(l);
    const analysis::OutputReference reference(layer.shape, future, weight);
    const std::vector<trace::LayerView> view = {trace::layer_view(layer)};
    const LayerRetention kept = evict(make_policy("snapkv(window=8)"), view, 20).layers.front();
    analysis::KeptSets sets;
    std::vector<std::vector<std::int32_t>> positions;
    std::vector<std::vector<std::int32_t>> until;
    for (Index set = 0; set < kept.sets(); ++set) {
      positions.push_back(kept.kept_ascending(set));
      until.emplace_back(100, 0);
      for (const std::int32_t j : positions.back()) until.back()[static_cast<std::size_t>(j)] = 20;
      std::fill(until.back().begin() + 80, until.back().end(), 20);
    }
    analysis::HoldingTimes times;
    for (Index h = 0; h < layer.shape.query_heads; ++h) {
      sets.emplace_back(positions[static_cast<std::size_t>(layer.shape.kv_head_of(h))]);
      times.until.emplace_back(until[static_cast<std::size_t>(layer.shape.kv_head_of(h))]);
    }
    const analysis::SummaryLosses summary = analysis::SummaryReference(layer.shape, future).losses(sets);
    const analysis::OutputLosses output = reference.losses(sets);
    const analysis::DecodingLosses decoding = reference.losses(times);
    EXPECT_NEAR(decoding.summary.retained_mass, summary.retained_mass, 1e-5);
    EXPECT_NEAR(decoding.summary.prompt_retained_mass, summary.prompt_retained_mass, 1e-5);
    EXPECT_NEAR(decoding.summary.bounds->ada, summary.bounds->ada, 1e-4 * summary.bounds->ada);
    EXPECT_NEAR(decoding.summary.bounds->head, summary.bounds->head, 1e-4 * summary.bounds->head);
    EXPECT_NEAR(decoding.output.value_bound, output.value_bound, 1e-4 * output.value_bound);
    EXPECT_NEAR(decoding.output.exact_loss, output.exact_loss, 1e-4 * output.exact_loss);
    EXPECT_NEAR(decoding.output.relative_loss, output.relative_loss, 1e-4 * output.relative_loss);
    EXPECT_NEAR(decoding.output.squared_error, output.squared_error, 1e-4 * output.squared_error);
  }
}

TEST(Decoding, TheBoundsAreInOrderAndNothingIsGainedByEvictingMore) {
  const trace::MemoryTrace trace = synthetic();
  std::vector<Policy> policies;
  for (const std::string& text : decoding_policies()) {
    policies.push_back(make_policy(text));
    std::string still = text;
    policies.push_back(make_policy(still.replace(still.find("decode=yes"), 10, "decode=no")));
  }
  const std::vector<Budget> budgets = {Budget::slots(24), Budget::slots(40)};
  const results::Table rows = replay(trace, policies, budgets).replay;
  const auto value = [&](std::size_t row, const char* name) { return *rows.number(row, rows.column(name)); };
  std::map<std::string, double> mass_of_still;  // by all that is alike
  for (const bool decoding : {false, true}) {
    std::size_t seen = 0;
    for (std::size_t row = 0; row < rows.rows(); ++row) {
      std::string parameters = rows.text(row, rows.column("parameters"));
      const bool decodes = parameters.find("decode=yes") != std::string::npos;
      if (decodes != decoding) continue;
      ++seen;
      const char* chain[] = {"exact_loss", "value_bound", "keptmax_bound", "head_bound", "ada_bound"};
      for (std::size_t i = 0; i + 1 < std::size(chain); ++i) {
        EXPECT_LE(value(row, chain[i]), value(row, chain[i + 1]) * (1 + 1e-4) + 1e-6);
      }
      if (decodes) parameters.replace(parameters.find("decode=yes"), 10, "decode=no");
      std::string key = parameters;
      for (const char* name : {"prompt", "policy", "budget_requested", "layer"}) {
        key += "|" + rows.text(row, rows.column(name));
      }
      const double mass = value(row, "retained_mass");
      if (decodes) {
        ASSERT_TRUE(mass_of_still.contains(key));
        EXPECT_LE(mass, mass_of_still[key] + 1e-6);
        // Where positions also leave by going out of a sliding window (layer 1), nothing is compared.
        const bool compared =
            rows.text(row, rows.column("layer")) != "1" && rows.text(row, rows.column("layer")) != "all";
        ASSERT_EQ(rows.number(row, rows.column("regret")).has_value(), compared);
        if (!compared) continue;
        EXPECT_GE(value(row, "regret"), 0.0);
        EXPECT_LE(mass + value(row, "regret"), 1.0 + 1e-6);
      } else {
        mass_of_still[key] = mass;
      }
    }
    EXPECT_EQ(seen, decoding_policies().size() * 2 * 2 * 4);
  }
}

TEST(Decoding, ASummaryTraceIsRefused) {
  trace::SyntheticOptions options;
  options.prompts = 1;
  options.tier = trace::Tier::kSummary;
  const trace::MemoryTrace trace = synthesize(options);
  const std::vector<Policy> policies = {make_policy("tova(decode=yes)")};
  const std::vector<Budget> budgets = {Budget::slots(40)};
  EXPECT_THAT([&] { replay(trace, policies, budgets); },
              ::testing::ThrowsMessage<PolicyError>(
                  ::testing::AllOf(::testing::HasSubstr("queries"), ::testing::HasSubstr("--tier full"))));
}

}  // namespace
}  // namespace evictlab::sim
