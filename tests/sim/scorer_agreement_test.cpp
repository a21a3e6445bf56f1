#include "sim/replay/scorer_agreement.hpp"

#include <gtest/gtest.h>

#include <string>

#include "core/parallel.hpp"
#include "sim/policy/registry.hpp"
#include "trace/synthetic.hpp"

namespace evictlab::sim {
namespace {

trace::MemoryTrace prompts_with_retrieval() {
  trace::SyntheticOptions options;
  options.prompts = 2;
  options.layers = 2;
  options.length = 200;
  options.future = 8;
  options.window = 32;
  return synthesize(options);
}

double mean_of(const results::Table& table, const std::string& policy, const char* column) {
  double sum = 0.0;
  double count = 0.0;
  for (std::size_t row = 0; row < table.rows(); ++row) {
    if (table.text(row, table.column("policy")) != policy) continue;
    sum += table.number(row, table.column(column)).value();
    count += 1.0;
  }
  EXPECT_GT(count, 0.0) << policy;
  return sum / count;
}

TEST(ScorerAgreement, TheOracleAgreesWithTheFutureAndChanceDoesNot) {
  const trace::MemoryTrace source = prompts_with_retrieval();
  const auto policies = make_policies("oracle,random,snapkv,streaming-llm");
  const results::Table table = scorer_table(source, policies, 0.1);
  EXPECT_DOUBLE_EQ(mean_of(table, "oracle", "spearman"), 1.0);
  EXPECT_DOUBLE_EQ(mean_of(table, "oracle", "recall"), 1.0);
  EXPECT_NEAR(mean_of(table, "random", "spearman"), 0.0, 0.1);
  EXPECT_NEAR(mean_of(table, "random", "recall"), 0.1, 0.1);
  EXPECT_GT(mean_of(table, "snapkv", "recall"), mean_of(table, "random", "recall") + 0.1);
}

TEST(ScorerAgreement, ThereIsARowForEveryPromptLayerAndScorerWhateverTheThreads) {
  const trace::MemoryTrace source = prompts_with_retrieval();
  const auto policies = make_policies("full,protect-only,h2o,cake");
  core::set_threads(1);
  const results::Table one = scorer_table(source, policies, 0.1);
  core::set_threads(3);
  const results::Table three = scorer_table(source, policies, 0.1);
  core::set_threads(0);
  EXPECT_EQ(one.rows(), 2U * 2U * 2U);  // full and protect-only score nothing
  EXPECT_EQ(one.to_csv(), three.to_csv());
}

}  // namespace
}  // namespace evictlab::sim
