#include "sim/replay/replay.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <sstream>

#include "core/parallel.hpp"
#include "replay_table.hpp"
#include "results/measures.hpp"
#include "results/schema.hpp"
#include "results/summary.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/eviction.hpp"
#include "small_replay.hpp"
#include "trace/synthetic.hpp"

namespace evictlab::sim {
namespace {

using results::Table;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr const char* kPolicies =
    "full,random,protect-only,streaming-llm,snapkv,snapkv(axis=query,pooling=avg),oracle,oracle(axis=query),"
    "oracle(sinks=4,window=32)";

const ReplayResult& everything() {
  static const ReplayResult result = run(small_trace(), kPolicies, "8,40,64,0.5,90,200");
  return result;
}

TEST(Replay, TablesHaveTheColumnsOfTheirSchema) {
  EXPECT_EQ(everything().replay.columns(), results::new_table("replay").columns());
  EXPECT_EQ(everything().budgets.columns(), results::new_table("budgets").columns());
  EXPECT_EQ(everything().positions.columns(), results::new_table("positions").columns());
}

TEST(Replay, RowsSayTheRoleOfTheirPolicy) {
  const Rows rows(everything().replay);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const std::string policy = rows.text(row, "policy");
    const bool ceiling = policy == "full" || policy == "oracle";
    const bool control = policy == "random" || policy == "protect-only";
    EXPECT_EQ(rows.text(row, "role"), ceiling ? "ceiling" : control ? "control" : "method") << policy;
  }
}

TEST(Replay, RowsComeByPromptPolicyBudgetAndLayer) {
  const Rows rows(everything().replay);
  ASSERT_EQ(rows.size(), 3U * 9U * 6U * 4U);
  EXPECT_EQ(rows.text(0, "prompt"), "synth-000");
  EXPECT_EQ(rows.text(0, "policy"), "full");
  EXPECT_EQ(rows.text(0, "T"), "12");
  for (std::size_t layer = 0; layer < 3; ++layer) EXPECT_EQ(rows.text(layer, "layer"), std::to_string(layer));
  EXPECT_EQ(rows.text(3, "layer"), "all");
  EXPECT_EQ(rows.text(4, "budget_requested"), "40");
  EXPECT_EQ(rows.text(12, "budget_requested"), "0.5");
  EXPECT_EQ(rows.text(24, "policy"), "random");
  EXPECT_EQ(rows.text(9 * 6 * 4, "prompt"), "synth-001");
}

TEST(Replay, EveryRowKeepsTheOrderOfTheBounds) {
  const Rows rows(everything().replay);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (!rows.judged(row)) continue;
    const char* chain[] = {"exact_loss", "value_bound", "keptmax_bound", "head_bound", "ada_bound"};
    for (std::size_t i = 0; i + 1 < std::size(chain); ++i) {
      const double lower = rows.number(row, chain[i]).value();
      const double upper = rows.number(row, chain[i + 1]).value();
      ASSERT_LE(lower, upper + 1e-4 * std::abs(upper) + 1e-9) << "row " << row << " " << chain[i];
    }
  }
}

TEST(Replay, FullRetainsEverythingAndLosesNothing) {
  const Rows rows(everything().replay);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (rows.text(row, "policy") != "full") continue;
    EXPECT_EQ(rows.number(row, "retained_mass"), 1.0);
    EXPECT_EQ(rows.number(row, "prompt_retained_mass"), 1.0);
    for (const char* loss : {"ada_bound", "head_bound", "keptmax_bound", "value_bound", "exact_loss", "relative_loss",
                             "regret", "squared_error", "output_relative_squared_error"}) {
      EXPECT_EQ(rows.number(row, loss), 0.0) << loss;
    }
    EXPECT_EQ(rows.number(row, "slots_held"), 100.0);
    EXPECT_EQ(rows.text(row, "status"), "ok");
  }
}

TEST(Replay, NoPolicyRetainsMoreThanTheOracleWithItsOwnCounts) {
  const Rows rows(everything().replay);
  std::size_t with_regret = 0;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (!rows.judged(row)) continue;
    ASSERT_GE(rows.number(row, "regret").value(), 0.0);
    if (rows.text(row, "policy") == "oracle") {
      ASSERT_NEAR(rows.number(row, "regret").value(), 0.0, 1e-12);
    }
    if (rows.number(row, "regret").value() > 1e-3) ++with_regret;
  }
  EXPECT_GT(with_regret, rows.size() / 10);
}

// snapkv protects the last 32 positions and so does this oracle; both hold 64 per kv head.
TEST(Replay, RegretIsWhatTheOracleWithTheSameProtectionRetainsMore) {
  const ReplayResult result = run(small_trace(), "snapkv,oracle(window=32)", "64");
  const Rows rows(result.replay);
  std::map<std::string, double> snapkv;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const std::string key = rows.text(row, "prompt") + "/" + rows.text(row, "layer");
    if (rows.text(row, "policy") == "snapkv") {
      snapkv[key] = rows.number(row, "retained_mass").value() + rows.number(row, "regret").value();
    } else {
      EXPECT_NEAR(rows.number(row, "retained_mass").value(), snapkv.at(key), 1e-6) << key;
    }
  }
  EXPECT_EQ(snapkv.size(), 12U);
}

// A policy that is easy to judge by hand: what streaming-llm keeps does not depend on attention.
TEST(Replay, RegretEqualsABruteForceOverSortedMass) {
  const ReplayResult result = run(small_trace(), "streaming-llm(sinks=3)", "20");
  const Rows rows(result.replay);
  const trace::LayerData data = small_trace().layer(0, 1, trace::Field::kFutureMass);
  double regret = 0.0;
  for (Index g = 0; g < data.shape.kv_heads; ++g) {
    std::vector<double> group(100, 0.0);
    for (Index h = g * data.shape.group_size(); h < (g + 1) * data.shape.group_size(); ++h) {
      const auto row = data.future_mass.view().float_row(h, 0);
      const double total = std::accumulate(row.begin(), row.end(), 0.0);
      for (std::size_t j = 0; j < 100; ++j) group[j] += row[j] / total;
    }
    const double kept = std::accumulate(group.begin() + 83, group.end(), 0.0);  // the last 17
    std::sort(group.begin() + 3, group.end(), std::greater<>());
    regret += std::accumulate(group.begin() + 3, group.begin() + 20, 0.0) - kept;
  }
  EXPECT_NEAR(rows.number(1, "regret").value(), regret / static_cast<double>(data.shape.query_heads), 1e-6);
  EXPECT_GT(regret, 0.01);
}

TEST(Replay, EqualBudgetsAreEqualBytesAlsoPerQueryHead) {
  const Rows rows(everything().replay);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (!rows.judged(row) || rows.text(row, "budget_requested") != "64") continue;
    const std::string policy = rows.text(row, "policy");
    const double held = policy == "full" ? 100.0 : policy == "protect-only" ? 36.0 : 64.0;
    ASSERT_EQ(rows.number(row, "slots_held"), held) << policy << " " << rows.text(row, "granularity");
    // 2 kv heads; "all" is the sum over 3 layers.
    const double layers = rows.text(row, "layer") == "all" ? 3.0 : 1.0;
    const auto slot_bytes = static_cast<double>(small_trace().model().slot_bytes());
    ASSERT_EQ(rows.number(row, "bytes"), held * 2 * slot_bytes * layers);
    ASSERT_EQ(rows.number(row, "bytes_padded"), rows.number(row, "bytes"));
    const double paged = std::ceil(held / 16.0) * 16.0;
    if (rows.text(row, "granularity") == "kv") {
      ASSERT_EQ(rows.number(row, "bytes_paged"), paged * 2 * slot_bytes * layers);
    }
  }
}

TEST(StoredForms, PadToTheLongestSetOfALayerAndToWholePages) {
  const trace::LayerShape shape{.query_heads = 4, .kv_heads = 2};
  const std::vector<Index> counts = {5, 33};
  const StoredSlots forms = stored_forms(Granularity::kKvHead, shape, counts);
  EXPECT_EQ(forms.exact, 19);
  EXPECT_EQ(forms.padded, 33);
  EXPECT_EQ(forms.paged, 32);  // (16 + 48) / 2
}

TEST(Replay, ABudgetBelowTheProtectionIsARowWithoutMeasures) {
  const Rows rows(everything().replay);
  std::size_t infeasible = 0;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (rows.judged(row)) continue;
    ++infeasible;
    for (const char* measure : {"slots_held", "bytes", "retained_mass", "exact_loss", "regret"}) {
      ASSERT_EQ(rows.text(row, measure), "") << measure;
    }
  }
  // At 8: protect-only, both snapkv, the protecting oracle. At 40, 0.5: snapkv(axis=query), whose 20 or 25
  // positions a head are fewer than its window of 32.
  EXPECT_EQ(infeasible, 3U * 4U * (4U + 2U));
}

TEST(Replay, NothingEvictedIsDegenerateUnlessThePolicyIsFull) {
  const Rows rows(everything().replay);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (!rows.judged(row)) continue;
    // 100 positions a set; a set per query head is stored twice per kv head.
    const bool everything_held =
        rows.number(row, "slots_held") == (rows.text(row, "granularity") == "kv" ? 100.0 : 200.0);
    const bool full = rows.text(row, "policy") == "full";
    ASSERT_EQ(rows.text(row, "status"), everything_held && !full ? "degenerate" : "ok");
    if (everything_held) {
      ASSERT_EQ(rows.number(row, "retained_mass"), 1.0);
    }
  }
}

TEST(Replay, TheRowForAllLayersIsTheirMeanAndOfTheSquaredErrorTheirSum) {
  const Rows rows(everything().replay);
  for (std::size_t first = 0; first < rows.size(); first += 4) {
    if (!rows.judged(first)) continue;
    for (const char* measure : {"slots_held", "retained_mass", "ada_bound", "relative_loss", "regret"}) {
      double sum = 0.0;
      for (std::size_t layer = 0; layer < 3; ++layer) sum += rows.number(first + layer, measure).value();
      ASSERT_NEAR(rows.number(first + 3, measure).value(), sum / 3, 1e-12) << measure;
    }
    double sum = 0.0;
    for (std::size_t layer = 0; layer < 3; ++layer) sum += rows.number(first + layer, "squared_error").value();
    ASSERT_NEAR(rows.number(first + 3, "squared_error").value(), sum, 1e-12 * sum);
  }
}

TEST(Replay, BudgetsAndPositionsAddUp) {
  const Rows budgets(everything().budgets);
  std::map<std::string, double> slots;  // of one (prompt, policy, parameters, budget, layer)
  const auto key = [](const Rows& rows, std::size_t row) {
    return rows.text(row, "prompt") + rows.text(row, "policy") + rows.text(row, "parameters") + "/" +
           rows.text(row, "budget_requested") + "/" + rows.text(row, "layer");
  };
  for (std::size_t row = 0; row < budgets.size(); ++row) slots[key(budgets, row)] += *budgets.number(row, "slots");
  const Rows rows(everything().replay);
  std::size_t compared = 0;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (!rows.judged(row) || rows.text(row, "layer") == "all") continue;
    ASSERT_EQ(slots.at(key(rows, row)) / 2, rows.number(row, "slots_held"));  // 2 kv heads
    ++compared;
  }
  EXPECT_EQ(compared, slots.size());
  const Rows positions(everything().positions);
  ASSERT_EQ(positions.size(), slots.size() / 3 * 20);  // means over the three prompts
  for (std::size_t first = 0; first < positions.size(); first += 20) {
    double sum = 0.0;
    for (std::size_t bin = 0; bin < 20; ++bin) sum += positions.number(first + bin, "share").value();
    ASSERT_NEAR(sum, 1.0, 1e-12);
  }
  // `full` holds 100 positions: 5 in each of 20 bins.
  EXPECT_NEAR(positions.number(7, "share").value(), 0.05, 1e-12);
  EXPECT_EQ(positions.number(7, "prompts"), 3);
}

TEST(Replay, WherePositionsLieIsTheMeanOverThePrompts) {
  const auto of_prompts = [](std::vector<Index> prompts) {
    ReplayOptions options;
    options.prompts = std::move(prompts);
    return replay(small_trace(), make_policies("snapkv"), parse_budgets("40"), options).positions;
  };
  const Table first = of_prompts({0});
  const Table second = of_prompts({2});
  const Table both = of_prompts({0, 2});
  ASSERT_EQ(both.rows(), 3U * 20U);
  bool differ = false;
  for (std::size_t row = 0; row < both.rows(); ++row) {
    const double a = Rows(first).number(row, "share").value();
    const double b = Rows(second).number(row, "share").value();
    EXPECT_DOUBLE_EQ(Rows(both).number(row, "share").value(), (a + b) / 2);
    differ = differ || a != b;
  }
  EXPECT_TRUE(differ);
}

TEST(Replay, OnUniformAttentionEveryPolicyRetainsItsShareOfThePrompt) {
  trace::SyntheticOptions options = small_options();
  options.prompts = 1;
  options.kinds = {trace::HeadKind::kUniform};
  const ReplayResult result = run(synthesize(options), kPolicies, "40,64,90");
  const Rows rows(result.replay);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (!rows.judged(row)) continue;
    // Positions a set holds: two query heads share a kv head.
    const double sets = rows.text(row, "granularity") == "kv" ? 1.0 : 2.0;
    const double held = rows.number(row, "slots_held").value() / sets;
    ASSERT_NEAR(rows.number(row, "prompt_retained_mass").value(), held / 100, 1e-5);
    ASSERT_NEAR(rows.number(row, "regret").value(), 0.0, 1e-5);
  }
}

TEST(Replay, SnapKvFindsWhatItsWindowSeesBetterThanChanceDoes) {
  const ReplayResult result = run(small_trace(), "random,snapkv,oracle", "40");
  const Rows rows(result.replay);
  std::map<std::string, double> mass;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (rows.text(row, "layer") == "all") mass[rows.text(row, "policy")] += rows.number(row, "retained_mass").value();
  }
  EXPECT_GT(mass["snapkv"], mass["random"]);
  EXPECT_GT(mass["oracle"], mass["snapkv"]);
}

TEST(Replay, ResultsDoNotDependOnThreads) {
  const std::size_t threads = core::threads();
  core::set_threads(1);
  const ReplayResult one = run(small_trace(), kPolicies, "40,64");
  core::set_threads(4);
  const ReplayResult four = run(small_trace(), kPolicies, "40,64");
  core::set_threads(threads);
  EXPECT_EQ(one.replay.to_csv(), four.replay.to_csv());
  EXPECT_EQ(one.budgets.to_csv(), four.budgets.to_csv());
  EXPECT_EQ(one.positions.to_csv(), four.positions.to_csv());
}

TEST(Replay, ManyBudgetsAtOnceGiveWhatEachGivesAlone) {
  const std::string all = run(small_trace(), "snapkv,random,oracle", "33,40,64,90").replay.to_csv();
  for (const char* budget : {"33", "40", "64", "90"}) {
    std::istringstream alone(run(small_trace(), "snapkv,random,oracle", budget).replay.to_csv());
    std::string line;
    while (std::getline(alone, line)) ASSERT_THAT(all, HasSubstr(line + "\n"));
  }
}

// The same prompts in the other order.
class Reversed final : public trace::Source {
 public:
  explicit Reversed(const trace::Source& source) : source_(source), prompts_(source.prompts()) {
    std::reverse(prompts_.begin(), prompts_.end());
  }
  const trace::ModelInfo& model() const override { return source_.model(); }
  const std::vector<trace::PromptInfo>& prompts() const override { return prompts_; }
  std::vector<std::int32_t> tokens(Index prompt) const override { return source_.tokens(index(prompt)); }
  trace::LayerData layer(Index prompt, Index layer, trace::Fields fields) const override {
    return source_.layer(index(prompt), layer, fields);
  }
  trace::RowMatrix output_weight(Index layer) const override { return source_.output_weight(layer); }

 private:
  Index index(Index prompt) const { return static_cast<Index>(prompts_.size()) - 1 - prompt; }
  const trace::Source& source_;
  std::vector<trace::PromptInfo> prompts_;
};

TEST(Replay, APromptsRowsDoNotDependOnTheOthers) {
  const auto sorted_lines = [](const std::string& csv) {
    std::istringstream stream(csv);
    std::vector<std::string> lines;
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    std::sort(lines.begin(), lines.end());
    return lines;
  };
  const Reversed reversed(small_trace());
  EXPECT_EQ(sorted_lines(run(small_trace(), "random,snapkv", "40").replay.to_csv()),
            sorted_lines(run(reversed, "random,snapkv", "40").replay.to_csv()));
  EXPECT_EQ(Rows(run(reversed, "random", "40").replay).text(0, "prompt"), "synth-002");
}

// Counts how often a layer is read.
class Counting final : public trace::Source {
 public:
  explicit Counting(const trace::Source& source) : source_(source) {}
  const trace::ModelInfo& model() const override { return source_.model(); }
  const std::vector<trace::PromptInfo>& prompts() const override { return source_.prompts(); }
  std::vector<std::int32_t> tokens(Index prompt) const override { return source_.tokens(prompt); }
  trace::LayerData layer(Index prompt, Index layer, trace::Fields fields) const override {
    ++reads;
    return source_.layer(prompt, layer, fields);
  }
  trace::RowMatrix output_weight(Index layer) const override { return source_.output_weight(layer); }
  mutable std::atomic<int> reads = 0;

 private:
  const trace::Source& source_;
};

TEST(Replay, ReadsEachLayerOfEachPromptOnce) {
  const Counting counting(small_trace());
  run(counting, kPolicies, "40,64,90");
  EXPECT_EQ(counting.reads, 3 * 3);
}

TEST(Replay, TheSummaryTierLeavesWhatItCannotMeasureEmpty) {
  trace::SyntheticOptions options = small_options();
  options.prompts = 1;
  options.tier = trace::Tier::kSummary;
  const ReplayResult result = run(synthesize(options), "snapkv", "40");
  const Rows rows(result.replay);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (const char* empty : {"value_bound", "exact_loss", "relative_loss", "squared_error", "relative_squared_error",
                              "output_relative_squared_error", "tail_loss"})
      EXPECT_EQ(rows.text(row, empty), "");
    EXPECT_TRUE(rows.number(row, "keptmax_bound").has_value());
  }
}

TEST(Replay, MeasuresOfTheFullTierCanBeLeftOutAndTheOthersAreTheSame) {
  const std::vector<Policy> policies = make_policies("full,snapkv,pyramidkv,h2o(decode=yes),oracle");
  ReplayOptions options;
  const Table whole = replay(small_trace(), policies, parse_budgets("40,64"), options).replay;
  options.full_measures = false;
  const Table without = replay(small_trace(), policies, parse_budgets("40,64"), options).replay;
  ASSERT_EQ(without.rows(), whole.rows());
  for (std::size_t column = 0; column < whole.columns().size(); ++column) {
    const auto measure = results::measure_of(whole.columns()[column]);
    const bool left_out = measure && results::info(*measure).tier == results::MeasureTier::kFull;
    for (std::size_t row = 0; row < whole.rows(); ++row) {
      EXPECT_EQ(without.text(row, column), left_out ? "" : whole.text(row, column)) << whole.columns()[column];
    }
  }
}

TEST(Replay, LayersOutOfSightOfAPositionNeitherHoldNorLoseIt) {
  trace::SyntheticOptions options = small_options();
  options.prompts = 1;
  options.sliding_window = 51;  // of layer 1: the future sees positions 50..99 of the prompt
  const ReplayResult result = run(synthesize(options), "full,oracle", "60");
  const Rows rows(result.replay);
  EXPECT_EQ(rows.number(1, "slots_held"), 50.0);
  EXPECT_EQ(rows.number(1, "retained_mass"), 1.0);
  EXPECT_EQ(rows.number(4 + 0, "slots_held"), 60.0);
  EXPECT_EQ(rows.number(4 + 1, "slots_held"), 50.0);
  EXPECT_EQ(rows.text(4 + 1, "status"), "degenerate");
  EXPECT_EQ(rows.text(4 + 3, "status"), "ok");
}

// A cascade whose every layer ends with the same number of slots.
class Halving final : public Allocator {
 public:
  Halving() : Allocator({.revises = true}) {}
  std::unique_ptr<Allocation> begin(const AllocationRequest& request) const override {
    class Work final : public Allocation {
     public:
      explicit Work(const AllocationRequest& request) : request_(request) {}
      Index ceiling(const LayerSummary&) const override { return 2 * slots_; }
      std::span<const Index> observe(const LayerSummary& summary) override {
        const auto sets = static_cast<std::size_t>(set_count(request_.granularity, summary.layer.shape));
        std::fill(budgets_.begin(), budgets_.end(), slots_);
        budgets_.insert(budgets_.end(), sets, 2 * slots_);
        return budgets_;
      }
      std::span<const Index> finish() override {
        std::fill(budgets_.begin(), budgets_.end(), slots_);
        return budgets_;
      }

     private:
      AllocationRequest request_;
      Index slots_ = static_cast<Index>(request_.slots);
      std::vector<Index> budgets_;
    };
    return std::make_unique<Work>(request);
  }
};

TEST(Replay, AnAllocatorThatRevisesEarlierLayersIsJudgedByWhatIsLeft) {
  std::vector<Policy> policies = {make_policy("oracle"), make_policy("oracle")};
  policies[1].name = "cascade";
  policies[1].allocator = std::make_shared<Halving>();
  const ReplayResult result = replay(small_trace(), policies, parse_budgets("20"));
  const Rows rows(result.replay);
  for (std::size_t row = 0; row < 4; ++row) {
    for (const char* measure : {"slots_held", "retained_mass", "exact_loss", "regret"}) {
      EXPECT_EQ(rows.number(row, measure), rows.number(row + 4, measure)) << measure << " " << row;
    }
  }
}

TEST(Replay, RetentionsComeInTheOrderOfTheRows) {
  std::vector<std::string> seen;
  ReplayOptions options;
  double last_done = 0.0;
  options.progress = [&](double done, double total) {
    EXPECT_EQ(total, 9.0);
    last_done = done;
  };
  options.retention = [&](const RetentionRecord& record) {
    seen.push_back(record.prompt.id + " " + record.policy.name + " " + record.budget.text());
    ASSERT_EQ(record.retention.layers.size(), 3U);
    EXPECT_EQ(record.retention.layers[2].kept(1).size(), static_cast<std::size_t>(std::stoi(record.budget.text())));
  };
  replay(small_trace(), make_policies("random,snapkv"), parse_budgets("20,40"), options);
  EXPECT_EQ(last_done, 9.0);
  // snapkv protects 32 positions: nothing to keep at 20.
  ASSERT_EQ(seen.size(), 9U);
  EXPECT_EQ(seen[0], "synth-000 random 20");
  EXPECT_EQ(seen[2], "synth-000 snapkv 40");
  EXPECT_EQ(seen[8], "synth-002 snapkv 40");
}

TEST(Replay, WithoutTablesItKeepsTheSameAndReadsNoMoreThanPoliciesDo) {
  constexpr const char* kOfEveryKind = "random,snapkv,oracle,cake,h2o(decode=yes)";
  std::map<std::string, std::vector<std::vector<std::int32_t>>> kept;
  const auto keep = [&kept](const char* run) {
    return [&kept, run](const RetentionRecord& record) {
      auto& own = kept[run];
      for (const LayerRetention& layer : record.retention.layers) own.push_back(layer.positions);
    };
  };
  ReplayOptions options;
  options.retention = keep("judged");
  replay(small_trace(), make_policies(kOfEveryKind), parse_budgets("40,64"), options);
  options.retention = keep("alone");
  options.tables = false;
  const ReplayResult alone = replay(small_trace(), make_policies(kOfEveryKind), parse_budgets("40,64"), options);
  EXPECT_EQ(kept["judged"], kept["alone"]);
  EXPECT_FALSE(kept["alone"].empty());
  for (const Table* table : {&alone.replay, &alone.budgets, &alone.positions, &alone.spans, &alone.trajectory}) {
    EXPECT_EQ(table->rows(), 0U);
  }
}

TEST(Replay, PoliciesThatReadMoreQueriesThanAPromptHasSayThatItIsTooShort) {
  trace::SyntheticOptions options = small_options();
  options.tier = trace::Tier::kSummary;
  trace::MemoryTrace trace(synthetic_model(options));
  trace.add_prompt(synthetic_prompt(options, 0));
  options.length = options.window = 20;  // all queries of a short prompt
  trace.add_prompt(synthetic_prompt(options, 1));
  const ReplayResult result = run(trace, "random,snapkv(window=20),snapkv(window=21)", "24");
  const Rows rows(result.replay);
  std::map<std::string, std::size_t> statuses;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const std::string status = rows.text(row, "status");
    ++statuses[rows.text(row, "prompt") + " " + rows.text(row, "parameters").substr(0, 9) + " " + status];
    EXPECT_EQ(rows.number(row, "retained_mass").has_value(), status != "too-short");
  }
  EXPECT_EQ(statuses["synth-001 window=21 too-short"], 4U);  // three layers, and all
  EXPECT_EQ(statuses["synth-000 window=21 ok"], 4U);
  EXPECT_EQ(statuses["synth-001 window=20 degenerate"], 4U);  // its window is the whole prompt
  const Table summary = results::summarize(result.replay);
  std::map<std::string, double> too_short;
  for (std::size_t row = 0; row < summary.rows(); ++row) {
    too_short[summary.text(row, summary.column("parameters")).substr(0, 9)] =
        *summary.number(row, summary.column("too_short"));
  }
  EXPECT_EQ(too_short["window=21"], 1.0);
  EXPECT_EQ(too_short["window=20"], 0.0);
}

TEST(Replay, WhatCannotBeReplayedIsRefusedBeforeAnythingIsRead) {
  EXPECT_THAT(
      [] { run(small_trace(), "snapkv(window=33)", "64"); },
      ThrowsMessage<PolicyError>("policy 'snapkv' reads the last 33 prompt queries; prompt 'synth-000' recorded "
                                 "32 (record with --window 33, or lower its window)"));
  const std::vector<Policy> twice = {make_policy("full"), make_policy("full")};
  EXPECT_THAT([&] { replay(small_trace(), twice, parse_budgets("8")); },
              ThrowsMessage<PolicyError>(HasSubstr("given twice")));
  trace::MemoryTrace no_future(small_trace().model());
  trace::MemoryTrace::Prompt prompt;
  prompt.info = small_trace().prompts().front();
  prompt.info.future_length = 0;
  prompt.info.layers = {};
  no_future.add_prompt(prompt);
  EXPECT_THAT([&] { run(no_future, "full", "8"); }, ThrowsMessage<PolicyError>(HasSubstr("T = 0")));
}

}  // namespace
}  // namespace evictlab::sim
