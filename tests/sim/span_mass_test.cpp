#include "sim/replay/span_mass.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "replay_table.hpp"
#include "small_replay.hpp"

namespace evictlab::sim {
namespace {

/// The small trace, with other spans.
class WithSpans : public trace::Source {
 public:
  explicit WithSpans(const std::vector<trace::Span>& spans) : prompts_(small_trace().prompts()) {
    for (trace::PromptInfo& prompt : prompts_) prompt.spans = spans;
  }
  const trace::ModelInfo& model() const override { return small_trace().model(); }
  const std::vector<trace::PromptInfo>& prompts() const override { return prompts_; }
  std::vector<std::int32_t> tokens(Index prompt) const override { return small_trace().tokens(prompt); }
  trace::LayerData layer(Index prompt, Index layer, trace::Fields fields) const override {
    return small_trace().layer(prompt, layer, fields);
  }
  trace::RowMatrix output_weight(Index layer) const override { return small_trace().output_weight(layer); }

 private:
  std::vector<trace::PromptInfo> prompts_;
};

TEST(SpanMass, TellsWhichShareOfEveryNamedSpanIsKept) {
  // Kept of 100 positions: 0..3 and the last 36. Of the two distractors 30..39 and 60..69: none and 6 of 10.
  const WithSpans source({{"start", 0, 8}, {"distractor", 30, 40}, {"distractor", 60, 70}, {"question", 80, 100}});
  const ReplayResult result = run(source, "streaming-llm(sinks=4),full", "40");
  const Rows rows(result.spans);
  ASSERT_EQ(rows.size(), 3U * 2U * 3U * 4U);  // prompts, policies, names, layers and "all"
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const std::string span = rows.text(row, "span");
    EXPECT_EQ(rows.number(row, "prompt_length"), 100);
    if (span == "distractor") {
      EXPECT_DOUBLE_EQ(rows.number(row, "depth").value(), 30.0 / 90.0);
    }
    const double streaming = span == "start" ? 0.5 : span == "distractor" ? 0.3 : 1.0;
    EXPECT_DOUBLE_EQ(rows.number(row, "retained").value(), rows.text(row, "policy") == "full" ? 1.0 : streaming)
        << span;
  }
}

/// What worst_span_mass is, set by set from the recorded mass: by layer, then of all layers.
std::vector<double> worst_span_masses(const trace::Source& source, const RetentionRecord& record) {
  std::map<std::string, std::vector<double>> by_name;
  const std::size_t layers = record.retention.layers.size();
  for (std::size_t l = 0; l < layers; ++l) {
    const trace::LayerData data = source.layer(0, static_cast<Index>(l), trace::Field::kFutureMass);
    const LayerRetention& kept = record.retention.layers[l];
    std::map<std::string, std::pair<double, double>> sums;  // held, all
    for (Index head = 0; head < data.shape.query_heads; ++head) {
      const Index set = set_of(record.retention.granularity, data.shape, head);
      const std::vector<std::int32_t> held = kept.kept_ascending(set);
      const auto mass = trace::future_view(data).mass.float_row(head, 0);
      for (std::int32_t j = 0; j < data.shape.prompt_length; ++j) {
        std::set<std::string> names;
        for (const trace::Span& span : record.prompt.spans) {
          if (span.begin <= j && j < span.end) names.insert(span.name);
        }
        for (const std::string& name : names) {
          sums[name].second += mass[static_cast<std::size_t>(j)];
          if (std::ranges::binary_search(held, j)) sums[name].first += mass[static_cast<std::size_t>(j)];
        }
      }
    }
    for (const auto& [name, sum] : sums) by_name[name].push_back(sum.first / sum.second);
  }
  std::vector<double> worst(layers + 1, 1.0);
  for (const auto& [name, shares] : by_name) {
    for (std::size_t l = 0; l < layers; ++l) worst[l] = std::min(worst[l], shares[l]);
    const double mean = std::accumulate(shares.begin(), shares.end(), 0.0) / static_cast<double>(layers);
    worst[layers] = std::min(worst[layers], mean);
  }
  return worst;
}

TEST(SpanMass, TheWorstSpansMassIsThatOfTheSpanThatKeepsTheSmallestShare) {
  // "context" holds the others, "answer" lies behind the prompt, and "needle" has two parts that overlap.
  const WithSpans source(
      {{"context", 0, 80}, {"needle", 30, 40}, {"needle", 35, 45}, {"question", 80, 100}, {"answer", 100, 104}});
  ReplayOptions options;
  options.prompts = {0};
  options.positions = false;
  std::vector<double> expected;
  options.retention = [&](const RetentionRecord& record) {
    const std::vector<double> own = worst_span_masses(source, record);
    expected.insert(expected.end(), own.begin(), own.end());
  };
  const ReplayResult result = replay(
      source, make_policies("full,snapkv,snapkv(axis=query),ada-snapkv,tova,streaming-llm(sinks=4),random,oracle"),
      parse_budgets("40,64,200"), options);
  const Rows rows(result.replay);
  std::size_t next = 0;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (!rows.judged(row)) continue;
    const double worst = rows.number(row, "worst_span_mass").value();
    EXPECT_NEAR(worst, expected.at(next++), 1e-6) << row;  // shares are float
    if (rows.text(row, "policy") == "full") {
      EXPECT_EQ(worst, 1.0);
    }
  }
  EXPECT_EQ(next, expected.size());
}

TEST(SpanMass, TheWorstSpansMassIsEmptyWithoutASpanInThePrompt) {
  const WithSpans source({{"answer", 100, 104}});
  const ReplayResult result = run(source, "full,snapkv", "40");
  const Rows rows(result.replay);
  for (std::size_t row = 0; row < rows.size(); ++row) EXPECT_EQ(rows.text(row, "worst_span_mass"), "");
}

TEST(SpanMass, WhatEvictsWhileItDecodesHoldsNoMoreOfASpan) {
  const WithSpans source({{"early", 10, 50}, {"late", 60, 90}});
  const ReplayResult result = run(source, "h2o(decode=no),h2o(decode=yes)", "64");
  const Rows rows(result.replay);
  bool less = false;
  for (std::size_t row = 0; row < rows.size() / 6; ++row) {  // the first prompt's rows of the first policy
    const double once = rows.number(row, "worst_span_mass").value();
    const double decoding = rows.number(row + 4, "worst_span_mass").value();
    EXPECT_LE(decoding, once + 1e-3);  // attention is recomputed
    less = less || decoding < once - 1e-3;
  }
  EXPECT_TRUE(less);
}

}  // namespace
}  // namespace evictlab::sim
