#include "sim/replay/eviction.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/policy/registry.hpp"
#include "trace/synthetic.hpp"

namespace evictlab::sim {
namespace {

using ::testing::ElementsAre;

// Splits the total over the layers seen so far: every new layer takes from those before it (cascading).
class EqualShares final : public Allocator {
 public:
  EqualShares() : Allocator({.revises = true}) {}
  std::unique_ptr<Allocation> begin(const AllocationRequest& request) const override {
    class Work final : public Allocation {
     public:
      explicit Work(const AllocationRequest& request) : request_(request) {}
      Index ceiling(const LayerSummary&) const override { return total(); }
      std::span<const Index> observe(const LayerSummary& summary) override {
        const Index sets = set_count(request_.granularity, summary.layer.shape);
        ++layers_;
        budgets_.assign(static_cast<std::size_t>(layers_ * sets), total() / layers_);
        return budgets_;
      }
      // Asks for more at the end: what is gone must not come back.
      std::span<const Index> finish() override {
        for (Index& budget : budgets_) budget += 1;
        return budgets_;
      }

     private:
      Index total() const { return static_cast<Index>(request_.slots) * request_.layers; }
      AllocationRequest request_;
      Index layers_ = 0;
      std::vector<Index> budgets_;
    };
    return std::make_unique<Work>(request);
  }
};

Policy cascading(Granularity granularity = Granularity::kKvHead) {
  Policy policy;
  policy.name = "cascading";
  const char* axis = granularity == Granularity::kQueryHead ? "query" : "kv";
  policy.scorer = make_scorer({"window", {{"window", 8}, {"axis", axis}}});
  policy.allocator = std::make_shared<EqualShares>();
  policy.selector = make_selector({"top"});
  policy.protection = {2, 8};
  policy.granularity = granularity;
  return policy;
}

struct Layers {
  std::vector<trace::LayerData> data;
  std::vector<trace::LayerView> views;
};
Layers synthetic_layers() {
  trace::SyntheticOptions options;
  options.prompts = 1;
  options.layers = 3;
  options.length = 96;
  options.window = 16;
  options.tier = trace::Tier::kSummary;
  const trace::MemoryTrace trace = synthesize(options);
  Layers layers;
  for (Index layer = 0; layer < options.layers; ++layer) {
    layers.data.push_back(trace.layer(0, layer, trace::kSummaryFields));
  }
  for (const trace::LayerData& data : layers.data) layers.views.push_back(trace::layer_view(data));
  return layers;
}

TEST(Eviction, AnAllocatorMayShrinkEarlierLayersAndWhatIsGoneStaysGone) {
  const Layers layers = synthetic_layers();
  const Policy policy = cascading();
  Eviction eviction(policy, 3, 20);
  // 60 slots in all: 60; 30 + 30; 20 + 20 + 20.
  std::vector<double> held;
  for (const trace::LayerView& view : layers.views) {
    eviction.observe(view);
    held.push_back(eviction.held_slots());
  }
  EXPECT_THAT(held, ElementsAre(60.0, 60.0, 60.0));
  const Retention retention = eviction.finish();
  for (const LayerRetention& layer : retention.layers) {
    for (Index set = 0; set < layer.sets(); ++set) {
      EXPECT_EQ(layer.kept(set).size(), 20U);
      EXPECT_EQ(layer.budgets[static_cast<std::size_t>(set)], 21);  // as recorded, not given back
    }
  }
}

TEST(Eviction, WithScoresThatDoNotChangeACascadeEndsAtOneCutsSets) {
  const Layers layers = synthetic_layers();
  const Policy cascade = cascading();
  Policy one_shot = cascade;
  one_shot.allocator = make_allocator({"uniform"});
  const Retention a = evict(cascade, layers.views, 20);
  const Retention b = evict(one_shot, layers.views, 20);
  for (std::size_t layer = 0; layer < 3; ++layer) {
    EXPECT_EQ(a.layers[layer].positions, b.layers[layer].positions);
    EXPECT_EQ(a.layers[layer].offsets, b.layers[layer].offsets);
  }
}

TEST(Eviction, ALayerScoredAndRankedElsewhereGivesTheSame) {
  const Layers layers = synthetic_layers();
  const Policy policy = make_policy("snapkv(window=8)");
  Eviction eviction(policy, 3, 24);
  for (const trace::LayerView& view : layers.views) {
    const Importance importance = score_layer(policy, view);
    eviction.observe(view, importance, rank_layer(policy, view.shape, importance, 60));
  }
  const Retention shared = eviction.finish();
  const Retention own = evict(policy, layers.views, 24);
  for (std::size_t layer = 0; layer < 3; ++layer) {
    EXPECT_EQ(shared.layers[layer].positions, own.layers[layer].positions);
  }
}

// Leaves one candidate unscored.
class Forgetful final : public Scorer {
 public:
  Needs needs() const override { return {}; }
  Granularity granularity() const override { return Granularity::kKvHead; }
  void score(const trace::LayerView&, trace::RowMatrix& scores) const override {
    scores.leftCols(scores.cols() - 1).setZero();
  }
};

TEST(Eviction, AScorerThatForgetsACandidateIsFound) {
  const Layers layers = synthetic_layers();
  Policy policy = cascading();
  policy.scorer = std::make_shared<Forgetful>();
  policy.protection = {0, 0};
  EXPECT_THROW(score_layer(policy, layers.views.front()), PolicyError);
  policy.protection = {0, 1};  // the last position needs no score when it is kept anyway
  EXPECT_NO_THROW(score_layer(policy, layers.views.front()));
}

class BudgetBoundSelector final : public Selector {
 public:
  bool ranking_depends_on_budget() const override { return true; }
  std::vector<std::int32_t> rank(const RankRequest&) const override { return {}; }
  Index prefix(std::span<const std::int32_t>, const PositionRanges&, Index) const override { return 0; }
};

TEST(PolicyParts, CombinationsThatCannotWorkAreRefusedWithTheReason) {
  Policy policy = cascading();
  policy.granularity = Granularity::kQueryHead;
  EXPECT_THAT([&] { check_parts(policy); }, ::testing::ThrowsMessage<PolicyError>(::testing::HasSubstr("per kv head")));
  policy = cascading();
  policy.protection.recent = 7;
  EXPECT_THAT([&] { check_parts(policy); },
              ::testing::ThrowsMessage<PolicyError>(::testing::HasSubstr("so as many must be protected, got 7")));
  policy = cascading();
  policy.selector = std::make_shared<BudgetBoundSelector>();
  EXPECT_THAT([&] { check_parts(policy); },
              ::testing::ThrowsMessage<PolicyError>(::testing::HasSubstr("ranks for one budget")));
}

TEST(PositionRanges, ShortPromptsAreProtectedWholeAndNothingIsCountedTwice) {
  trace::LayerShape shape;
  shape.prompt_length = 10;
  const PositionRanges both(shape, {4, 8});  // overlapping
  EXPECT_EQ(both.protected_count(), 10);
  EXPECT_EQ(both.candidates(), 0);
  const PositionRanges long_window(shape, {0, 50});
  EXPECT_EQ(long_window.protected_count(), 10);
  shape.sliding_window = 7;  // sees positions 4.. of the prompt
  const PositionRanges sliding(shape, {5, 2});
  EXPECT_EQ(sliding.first_visible, 4);
  EXPECT_EQ(sliding.visible(), 6);
  EXPECT_EQ(sliding.protected_count(), 3);  // 4, 8, 9
  EXPECT_EQ(sliding.candidates_begin, 5);
}

}  // namespace
}  // namespace evictlab::sim
