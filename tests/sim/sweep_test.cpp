// Many budgets at once against one at a time, and both against sets that are materialised and judged position by
// position: for every policy there is.

#include <gtest/gtest.h>

#include <set>

#include "analysis/losses.hpp"
#include "core/parallel.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/eviction.hpp"
#include "sim/replay/replay.hpp"
#include "trace/synthetic.hpp"

namespace evictlab::sim {
namespace {

using results::Table;

trace::MemoryTrace synthetic_trace(Index sliding_window) {
  trace::SyntheticOptions options;
  options.prompts = 1;
  options.layers = 8;
  options.query_heads = 4;
  options.kv_heads = 2;
  options.length = 150;
  options.future = 6;
  options.window = 64;
  options.sliding_window = sliding_window;
  options.repeat_attention = true;
  return synthesize(options);
}

// Every policy, with every variant, and what else changes how budgets become counts.
std::vector<Policy> all_variants() {
  std::vector<Policy> all;
  std::set<std::string> texts;
  const auto add = [&](const std::string& text) {
    Policy policy = make_policy(text);
    if (texts.insert(policy.text()).second) all.push_back(std::move(policy));
  };
  for (const PolicyInfo& info : policies()) {
    if (info.definition.from_file) continue;
    add(info.name);
    for (const Variant& variant : info.definition.variants) add(info.name + "(variant=" + variant.name + ")");
  }
  for (const char* text :
       {"oracle(over=heads)", "oracle(over=layers)", "oracle(axis=query)", "snapkv(axis=query,pooling=avg)",
        "ada-snapkv(floor_alpha=0,skip=2)", "cake(cascading=no,window=8)", "dynamickv(window=8,variant=paper)",
        "snapkv(blocks=16)", "snapkv(share=layer)", "cake(protect=4+32,blocks=8)",
        "compose(scorer=mass,allocator=hindsight)", "compose(scorer=mean-variance,allocator=all-layers)",
        "compose(scorer=window,allocator=guaranteed)", "compose(scorer=recency,allocator=global-counts)"}) {
    add(text);
  }
  return all;
}

const std::vector<Budget>& many_budgets() {
  static const std::vector<Budget> budgets = parse_budgets("33:150:lin20,64,0.5,0.93,200");
  return budgets;
}

std::vector<std::string> texts_of(const Table& table, std::size_t row) {
  std::vector<std::string> texts;
  for (std::size_t column = 0; column < table.columns().size(); ++column) texts.push_back(table.text(row, column));
  return texts;
}

class ManyBudgets : public ::testing::TestWithParam<Index> {};

TEST_P(ManyBudgets, GiveToTheLastDigitWhatEachGivesAlone) {
  const trace::MemoryTrace trace = synthetic_trace(GetParam());
  const std::vector<Policy> all = all_variants();
  const ReplayResult together = replay(trace, all, many_budgets());
  std::size_t row = 0;
  std::size_t budget_row = 0;
  for (const Policy& policy : all) {
    for (const Budget& budget : many_budgets()) {
      const ReplayResult alone = replay(trace, std::span(&policy, 1), std::span(&budget, 1));
      for (std::size_t own = 0; own < alone.replay.rows(); ++own) {
        ASSERT_EQ(texts_of(together.replay, row++), texts_of(alone.replay, own)) << policy.text();
      }
      for (std::size_t own = 0; own < alone.budgets.rows(); ++own) {
        ASSERT_EQ(texts_of(together.budgets, budget_row++), texts_of(alone.budgets, own)) << policy.text();
      }
    }
  }
  EXPECT_EQ(row, together.replay.rows());
}

TEST_P(ManyBudgets, AreJudgedAsTheirKeptPositionsAre) {
  const trace::MemoryTrace trace = synthetic_trace(GetParam());
  const std::vector<Policy> all = all_variants();
  const Table rows = replay(trace, all, many_budgets()).replay;
  std::vector<trace::LayerData> data;
  for (Index l = 0; l < trace.model().layers; ++l) {
    data.push_back(trace.layer(0, l, trace.prompts()[0].recorded()));
    data.back().output_weight = std::make_shared<const trace::RowMatrix>(trace.output_weight(l));
  }
  std::vector<trace::FutureView> futures;
  for (const trace::LayerData& layer : data) futures.push_back(trace::future_view(layer));
  std::size_t row = 0;
  std::size_t judged = 0;
  for (const Policy& policy : all) {
    std::vector<trace::LayerView> views;
    for (std::size_t l = 0; l < data.size(); ++l) {
      views.push_back(trace::layer_view(data[l]));
      if (policy.needs().future) views.back().future = &futures[l];
    }
    for (const Budget& budget : many_budgets()) {
      const double slots = budget.real_slots(trace.model(), 150);
      if (rows.text(row, rows.column("status")) == "infeasible") {
        row += data.size() + 1;
        continue;
      }
      const Retention retention = evict(policy, views, slots);
      for (std::size_t l = 0; l < data.size(); ++l, ++row) {
        const LayerRetention& kept = retention.layers[l];
        std::vector<std::vector<std::int32_t>> sets;
        for (Index set = 0; set < kept.sets(); ++set) sets.push_back(kept.kept_ascending(set));
        analysis::KeptSets by_head;
        for (Index h = 0; h < 4; ++h) {
          by_head.emplace_back(sets[static_cast<std::size_t>(set_of(policy.granularity, data[l].shape, h))]);
        }
        const auto losses = analysis::SummaryReference(data[l].shape, futures[l]).losses(by_head);
        const auto value = [&](const char* column) { return rows.number(row, rows.column(column)).value(); };
        const std::string where = policy.text() + " at " + budget.text() + ", layer " + std::to_string(l);
        ASSERT_NEAR(value("retained_mass"), losses.retained_mass, 1e-9) << where;
        ASSERT_NEAR(value("prompt_retained_mass"), losses.prompt_retained_mass, 1e-9) << where;
        const double scale = 1.0 + losses.bounds->ada;
        ASSERT_NEAR(value("ada_bound"), losses.bounds->ada, 1e-9 * scale) << where;
        ASSERT_NEAR(value("head_bound"), losses.bounds->head, 1e-9 * scale) << where;
        ASSERT_NEAR(value("keptmax_bound"), losses.bounds->keptmax, 1e-9 * scale) << where;
        ++judged;
      }
      ++row;  // layer = all
    }
  }
  EXPECT_GT(judged, 5000U);
}

INSTANTIATE_TEST_SUITE_P(SlidingWindow, ManyBudgets, ::testing::Values(Index{0}, Index{90}));

TEST(ManyBudgets, WithoutLayersAreTheRowsOverAllLayers) {
  const trace::MemoryTrace trace = synthetic_trace(0);
  const std::vector<Policy> all = all_variants();
  ReplayOptions options;
  options.headroom = true;
  const ReplayResult with_layers = replay(trace, all, many_budgets(), options);
  options.layers = false;
  const ReplayResult over_layers = replay(trace, all, many_budgets(), options);
  Table expected(with_layers.replay.columns());
  for (std::size_t row = 0; row < with_layers.replay.rows(); ++row) {
    if (with_layers.replay.text(row, expected.column("layer")) == "all") expected.add_row(with_layers.replay.row(row));
  }
  EXPECT_EQ(over_layers.replay.to_csv(), expected.to_csv());
  EXPECT_EQ(over_layers.headroom.to_csv(), with_layers.headroom.to_csv());
  EXPECT_EQ(over_layers.budgets.rows() + over_layers.positions.rows() + over_layers.trajectory.rows(), 0U);
}

TEST(ManyBudgets, DoNotDependOnThreads) {
  const trace::MemoryTrace trace = synthetic_trace(0);
  const std::vector<Policy> all = all_variants();
  ReplayOptions options;
  options.headroom = true;
  core::set_threads(1);
  const ReplayResult one = replay(trace, all, many_budgets(), options);
  core::set_threads(3);
  const ReplayResult three = replay(trace, all, many_budgets(), options);
  core::set_threads(0);
  EXPECT_EQ(one.replay.to_csv(), three.replay.to_csv());
  EXPECT_EQ(one.headroom.to_csv(), three.headroom.to_csv());
  EXPECT_EQ(one.trajectory.to_csv(), three.trajectory.to_csv());
}

}  // namespace
}  // namespace evictlab::sim
