// A fitted policy: budgets from curves, the order of holding, and the file.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <numeric>

#include "random_layers.hpp"
#include "sim/policy/fitted.hpp"
#include "sim/policy/registry.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::sim {
namespace {

using ::testing::HasSubstr;
using testing::RandomLayers;
using ::testing::ThrowsMessage;

constexpr Index kLayerCount = 3;
constexpr Index kKvHeads = 2;

// Curves that fall from a size of their own, each at its own pace.
FittedPolicy fitted_policy() {
  FittedPolicy fitted{.model = "random", .model_fingerprint = "none", .scorers = {"h2o", "snapkv(window=8)"}};
  fitted.points = {1, 4, 16, 64, 256, 1024};
  double size = 1.0;
  for (Index layer = 0; layer < kLayerCount; ++layer) {
    fitted.sliding_windows.push_back(layer == 1 ? 100 : 0);
    auto& heads = fitted.heads.emplace_back();
    for (Index g = 0; g < kKvHeads; ++g) {
      FittedHead head{.scorer = static_cast<std::size_t>(g), .protection = {1, g == 1 ? 8 : 4}};
      for (std::size_t i = 0; i < fitted.points.size(); ++i) head.losses.push_back(size / fitted.points[i]);
      heads.push_back(head);
      size *= 2.5;
    }
  }
  fitted.provenance = {.program = "test", .traces = {"a.h5"}, .documents = {"d"}, .tasks = {"t"}, .unit = "output"};
  fitted.provenance.shortest = 100;
  fitted.provenance.longest = 200;
  fitted.provenance.slots = {64};
  return fitted;
}

std::string write(const std::filesystem::path& directory, const std::string& text) {
  const std::filesystem::path path = directory / "policy.json";
  std::ofstream(path) << text;
  return path.string();
}

Index sum(const std::vector<Index>& counts) { return std::accumulate(counts.begin(), counts.end(), Index{0}); }

TEST(FittedBudgets, AddUpToTheTotalForEveryLengthWeightAndTotal) {
  FittedPolicy fitted = fitted_policy();
  for (const double weight : {0.0, 0.25, 0.5, 1.0}) {
    fitted.uniform_weight = weight;
    for (const Index n : {64, 100, 101, 777, 8192}) {
      const Index all = kKvHeads * (2 * n + std::min<Index>(n, 99));
      for (const double slots : {1.0, 2.0, 17.0, 64.0, 500.0, 9000.0}) {
        const std::vector<Index> budgets = fitted_budgets(fitted, n, slots);
        EXPECT_EQ(sum(budgets), std::min(all, static_cast<Index>(slots) * kLayerCount * kKvHeads)) << n << " " << slots;
        for (Index layer = 0; layer < kLayerCount; ++layer) {
          for (Index g = 0; g < kKvHeads; ++g) {
            const Index count = budgets[static_cast<std::size_t>(layer * kKvHeads + g)];
            EXPECT_GE(count, 1);
            EXPECT_LE(count, fitted.visible(layer, n));
          }
        }
      }
    }
  }
}

TEST(FittedBudgets, GiveMoreWhereCurvesFallMoreAndAllAlikeAtFullWeight) {
  FittedPolicy fitted = fitted_policy();
  const std::vector<Index> budgets = fitted_budgets(fitted, 1000, 64);
  EXPECT_LT(budgets.front(), budgets.back());
  fitted.uniform_weight = 1.0;
  EXPECT_EQ(fitted_budgets(fitted, 1000, 64), std::vector<Index>(kLayerCount * kKvHeads, 64));
}

TEST(FittedBudgets, AreOneCountALayerOrWholeBlocksWhereThatIsWhatIsPaidFor) {
  FittedPolicy fitted = fitted_policy();
  fitted.per = FittedUnit::kLayer;
  std::vector<Index> budgets = fitted_budgets(fitted, 1000, 64);
  EXPECT_EQ(sum(budgets), 64 * kLayerCount * kKvHeads);
  for (std::size_t layer = 0; layer < kLayerCount; ++layer) EXPECT_EQ(budgets[2 * layer], budgets[2 * layer + 1]);
  fitted.per = FittedUnit::kHead;
  fitted.block = 16;
  budgets = fitted_budgets(fitted, 1000, 64);
  EXPECT_EQ(sum(budgets), 64 * kLayerCount * kKvHeads);
  for (const Index count : budgets) EXPECT_EQ(count % 16, 0);
  const trace::LayerShape shape{.layers = kLayerCount, .query_heads = 4, .kv_heads = kKvHeads, .prompt_length = 100};
  const Policy policy = make_fitted(std::make_shared<const FittedPolicy>(fitted), true);
  EXPECT_FALSE(is_feasible(policy, shape, 15));  // a head holds one block at least
  EXPECT_TRUE(is_feasible(policy, shape, 16));
}

TEST(FittedBudgets, LoseNoMoreThanAnyTransferOfASlotWhereCurvesAreConvex) {
  const std::vector<std::vector<double>> losses = [] {
    std::vector<std::vector<double>> curves;
    for (const double size : {1.0, 3.0, 10.0}) {
      auto& curve = curves.emplace_back(41);
      for (std::size_t count = 0; count < curve.size(); ++count) curve[count] = size / static_cast<double>(count + 1);
    }
    return curves;
  }();
  const auto loss = [&](const std::vector<Index>& counts) {
    double total = 0.0;
    for (std::size_t i = 0; i < counts.size(); ++i) total += losses[i][static_cast<std::size_t>(counts[i])];
    return total;
  };
  const std::vector<Index> best = divided(losses, 30, 0.0);
  for (std::size_t from = 0; from < best.size(); ++from) {
    for (std::size_t to = 0; to < best.size(); ++to) {
      std::vector<Index> other = best;
      --other[from];
      ++other[to];
      if (other[from] < 1) continue;
      EXPECT_GE(loss(other), loss(best) - 1e-12);
    }
  }
}

TEST(FittedBudgets, AreNothingWhereNothingIsVisible) {
  FittedPolicy fitted = fitted_policy();
  fitted.sliding_windows[1] = 1;
  const std::vector<Index> budgets = fitted_budgets(fitted, 100, 10);
  EXPECT_EQ(budgets[2], 0);
  EXPECT_EQ(sum(budgets), 60);
}

TEST(CurveValue, IsLinearBetweenPointsAndNothingWhereAllIsHeld) {
  const std::vector<double> points = {1, 10, 100};
  const std::vector<double> losses = {8, 4, 2};
  EXPECT_DOUBLE_EQ(curve_value(points, CurveAxis::kCount, losses, 1000, 1), 8);
  EXPECT_DOUBLE_EQ(curve_value(points, CurveAxis::kCount, losses, 1000, 5.5), 6);
  EXPECT_DOUBLE_EQ(curve_value(points, CurveAxis::kCount, losses, 1000, 550), 1);  // halfway from 100 to all
  EXPECT_EQ(curve_value(points, CurveAxis::kCount, losses, 50, 50), 0);
  EXPECT_DOUBLE_EQ(curve_value(points, CurveAxis::kCount, losses, 50, 30), 2);  // halfway from 10 to all 50
  EXPECT_DOUBLE_EQ(curve_value(std::vector{0.01, 0.1}, CurveAxis::kShare, std::vector{8.0, 4.0}, 1000, 100), 4);
}

TEST(HoldingOrder, IsSinksThenTheLastPositionsBackwardsThenScores) {
  trace::LayerShape shape{.prompt_length = 8};
  const std::vector<float> scores = {9, 1, 5, 7, 5, 0, 9, 9};
  EXPECT_EQ(holding_order(scores, {shape, {1, 2}}), (std::vector<std::int32_t>{0, 7, 6, 3, 2, 4, 1, 5}));
  EXPECT_EQ(holding_order(scores, {shape, {0, 0}}), (std::vector<std::int32_t>{0, 6, 7, 3, 2, 4, 1, 5}));
}

TEST(FittedPolicy, HoldsOfEveryHeadTheFirstOfItsOwnOrder) {
  const RandomLayers layers(
      {.layers = kLayerCount, .query_heads = 4, .kv_heads = kKvHeads, .length = 150, .window = 64, .seed = 5});
  const testing::TemporaryDirectory directory;
  const FittedPolicy fitted = fitted_policy();
  const std::string file = write(directory.path(), fitted_json(fitted));
  const Policy policy = make_policy("fitted(file=" + file + ")");
  const Retention kept = evict(policy, layers.views(), 40);
  const std::vector<Index> budgets = fitted_budgets(fitted, 150, 40);
  for (std::size_t layer = 0; layer < kLayerCount; ++layer) {
    for (std::size_t g = 0; g < kKvHeads; ++g) {
      const FittedHead& head = fitted.heads[layer][g];
      const auto scores = kv_head_scores(*make_policy(fitted.scorers[head.scorer]).scorer, layers.views()[layer]);
      const std::span row(scores.row(static_cast<Index>(g)).data(), 150U);
      auto expected = holding_order(row, {layers.views()[layer].shape, head.protection});
      expected.resize(static_cast<std::size_t>(budgets[layer * kKvHeads + g]));
      std::ranges::sort(expected);
      EXPECT_EQ(kept.layers[layer].kept_ascending(static_cast<Index>(g)), expected);
    }
  }
}

TEST(FittedPolicy, IsWhatItsFileSaysAndNamesItByADigest) {
  const testing::TemporaryDirectory directory;
  const std::string text = fitted_json(fitted_policy());
  const std::string file = write(directory.path(), text);
  EXPECT_EQ(fitted_json(parse_fitted(core::JsonDocument::parse(text, "policy.json"))), text);
  const Policy policy = make_policy("fitted(file=" + file + ")");
  EXPECT_EQ(policy.label(), "fitted(file=policy.json)");
  EXPECT_THAT(policy.text(), HasSubstr(",digest="));
  EXPECT_EQ(make_policy(policy.text()).text(), policy.text());
  write(directory.path(), text + " ");
  EXPECT_THAT([&] { make_policy(policy.text()); }, ThrowsMessage<PolicyError>(HasSubstr("the file has changed")));
}

TEST(FittedPolicy, IsRefusedOnAnotherModelUnlessToldAndSaysWhenAPromptIsOutsideWhatWasFitted) {
  const testing::TemporaryDirectory directory;
  const std::string file = write(directory.path(), fitted_json(fitted_policy()));
  trace::ModelInfo model;
  model.name = "other";
  model.layers = kLayerCount;
  model.kv_heads = kKvHeads;
  model.fingerprint = "another";
  model.sliding_windows = {0, 100, 0};
  trace::PromptInfo prompt;
  prompt.layers = {0, 1, 2};
  const auto check = [&](const std::string& parameters) {
    check_layers(make_policy("fitted(file=" + file + parameters + ")"), model, prompt);
  };
  EXPECT_THAT([&] { check(""); }, ThrowsMessage<PolicyError>(HasSubstr("any_model=yes")));
  EXPECT_NO_THROW(check(",any_model=yes"));
  model.sliding_windows = {0, 0, 0};
  EXPECT_THAT([&] { check(",any_model=yes"); }, ThrowsMessage<PolicyError>(HasSubstr("other sliding windows")));
  model.layers = 4;
  EXPECT_THAT([&] { check(",any_model=yes"); }, ThrowsMessage<PolicyError>(HasSubstr("of 3 layers with 2 kv heads")));

  const Policy policy = make_policy("fitted(file=" + file + ")");
  for (const Index length : {150, 250}) {
    const RandomLayers layers(
        {.layers = kLayerCount, .query_heads = 4, .kv_heads = kKvHeads, .length = length, .window = 64, .seed = 5});
    Eviction eviction(policy, kLayerCount, 40);
    for (const trace::LayerView& view : layers.views()) eviction.observe(view);
    EXPECT_EQ(eviction.notes().size(), length == 150 ? 0U : 1U);
  }
}

TEST(FittedPolicy, TakesOnlyConstraintsThatLeaveItsBudgetsWhatTheyAre) {
  const testing::TemporaryDirectory directory;
  const std::string file = write(directory.path(), fitted_json(fitted_policy()));
  const auto make = [&](const char* constraint) { return make_policy("fitted(file=" + file + "," + constraint + ")"); };
  EXPECT_THAT([&] { make("share=layer"); }, ThrowsMessage<ImpossiblePolicy>(HasSubstr("budgets per kv head")));
  EXPECT_THAT([&] { make("protect=4+32"); }, ThrowsMessage<ImpossiblePolicy>(HasSubstr("is the method itself")));
  const RandomLayers layers(
      {.layers = kLayerCount, .query_heads = 4, .kv_heads = kKvHeads, .length = 150, .window = 64, .seed = 5});
  for (const LayerRetention& layer : evict(make("layers=uniform"), layers.views(), 40).layers) {
    for (Index set = 0; set < kKvHeads; ++set) EXPECT_EQ(layer.kept(set).size(), 40U);
  }
  for (const LayerRetention& layer : evict(make("blocks=16"), layers.views(), 40).layers) {
    for (Index set = 0; set < kKvHeads; ++set) EXPECT_LE(layer.kept(set).size(), 150U);
  }
}

TEST(FittedFile, DamageIsOneLineThatNamesTheKey) {
  const testing::TemporaryDirectory directory;
  const std::string text = fitted_json(fitted_policy());
  const auto said = [&](const std::string& from, const std::string& to, const char* what) {
    std::string other = text;
    ASSERT_NE(other.find(from), std::string::npos) << from;
    other.replace(other.find(from), from.size(), to);
    const std::string file = write(directory.path(), other);
    EXPECT_THAT([&] { make_policy("fitted(file=" + file + ")"); }, ThrowsMessage<PolicyError>(HasSubstr(what))) << to;
  };
  said("evictlab-fitted-policy", "something", "is no fitted policy");
  said("\"format_version\":1", "\"format_version\":2", "reads up to 1");
  said("\"points\":[1.0,4.0", "\"points\":[4.0,1.0", "points");
  said("\"uniform_weight\":0.0", "\"uniform_weight\":1.5", "uniform_weight");
  said("\"block\":1", "\"block\":0", "block");
  said("\"scorer\":1", "\"scorer\":2", "scorer");
  said("\"losses\":[1.0,", "\"losses\":[1.0,1.0,", "losses");
  said("\"losses\":[1.0,", "\"losses\":[-1.0,", "losses");
  said("\"sliding_windows\":[0,", "\"sliding_windows\":[", "sliding_windows");
  said("\"prompt_length\":[100,200]", "\"prompt_length\":[200,100]", "prompt_length");
  said("\"h2o\"", "\"h3o\"", "unknown policy");
  said("\"h2o\"", "\"oracle\"", "reads the future");
  said("\"h2o\"", "\"fitted(file=" + (directory.path() / "policy.json").string() + ")\"", "is fitted already");
  said("\"h2o\"", "\"protect-only\"", "no scorer");
  EXPECT_THAT([] { make_policy("fitted"); }, ThrowsMessage<PolicyError>(HasSubstr("needs file=")));
  EXPECT_THAT([] { make_policy("fitted(file=/nowhere/policy.json)"); },
              ThrowsMessage<core::InputError>(HasSubstr("/nowhere")));
}

}  // namespace
}  // namespace evictlab::sim
