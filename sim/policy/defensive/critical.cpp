// DefensiveKV's first stage. With x_g[j] the mean over group and window of A_h[t, j], j < m = n - w, as a share of
// their sum, and
//
//   bias = mean over heads and rows of the sum of A_h[t, j] over the last w of the m positions
//   c_g  = index of the first of the falling x_g at which their running sum reaches 0.9 - bias; 0 if none does
//
// the min(c_g, limit) largest x_g are first: without the one that crosses the threshold. `bias` is meant to be what the
// window holds; the code takes it after the window has been cut off, and so takes the positions before it.

#include "sim/policy/defensive/critical.hpp"

#include <algorithm>
#include <vector>

#include "analysis/window_statistics.hpp"
#include "core/parallel.hpp"
#include "core/select.hpp"
#include "sim/policy/allocators/all_layers.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/pooled_ranking.hpp"
#include "sim/policy/scorer.hpp"
#include "sim/policy/selector.hpp"

namespace evictlab::sim {
namespace {

constexpr double kCriticalShare = 0.9;

// Scores a position c_g - rank: its rank by x_g among the m, from 0, seen from where the first stage ends. Positive for
// those that the stage may take, c_g at most. The window's own positions are behind all others.
class CriticalRankScorer final : public Scorer {
 public:
  explicit CriticalRankScorer(Index window) : window_(window) {}

  Needs needs() const override { return {trace::Field::kWindowAttention, window_, false}; }
  Granularity granularity() const override { return Granularity::kKvHead; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const trace::LayerShape& shape = layer.shape;
    const Index first = shape.first_visible();
    const Index count = shape.prompt_length - window_ - first;
    scores.rightCols(shape.prompt_length - first).setConstant(-static_cast<float>(shape.prompt_length));
    if (count <= 0) return;
    const Index group = shape.group_size();
    Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> sums(shape.kv_heads, count);
    core::parallel_for(static_cast<std::size_t>(shape.kv_heads), [&](std::size_t index) {
      const auto head = static_cast<Index>(index);
      sums.row(head).setZero();
      for (Index i = 0; i < group; ++i) {
        analysis::add_window_sums(layer.window_attention, head * group + i, window_, first,
                                  {sums.row(head).data(), static_cast<std::size_t>(count)});
      }
    });
    const double bias =
        sums.rightCols(std::min(window_, count)).sum() / static_cast<double>(shape.query_heads * window_);
    core::parallel_for(static_cast<std::size_t>(shape.kv_heads), [&](std::size_t index) {
      const auto head = static_cast<Index>(index);
      set_ranks(sums.row(head), kCriticalShare - bias, scores.row(head).segment(first, count));
    });
  }

 private:
  template <typename Row>
  static void set_ranks(const Eigen::Ref<const Eigen::RowVectorXd>& sums, double threshold, Row out) {
    const double all = sums.sum();
    const Eigen::RowVectorXf shares = (sums / (all > 0.0 ? all : 1.0)).cast<float>();
    const auto order = core::argsort_descending({shares.data(), static_cast<std::size_t>(shares.size())});
    double running = 0.0;
    std::size_t critical = 0;
    for (std::size_t rank = 0; rank < order.size(); ++rank) {
      running += sums[order[rank]] / (all > 0.0 ? all : 1.0);
      if (running < threshold) continue;
      critical = rank;
      break;
    }
    for (std::size_t rank = 0; rank < order.size(); ++rank) {
      out[order[rank]] = static_cast<float>(critical) - static_cast<float>(rank);
    }
  }

  Index window_;
};

Index stage_limit(const PositionRanges& ranges, double capacity, const CriticalRule& rule) {
  const auto n = static_cast<double>(ranges.visible());
  const auto w = static_cast<double>(rule.window);
  const auto limit = static_cast<Index>((n - w) * (capacity / n) - w);
  return rule.repair_limit ? std::max<Index>(limit, 0) : limit;
}

float largest_score(const trace::RowMatrix& scores, const PositionRanges& ranges) {
  return scores.rightCols(scores.cols() - ranges.first_visible).maxCoeff();
}

class CriticalFirstSelector final : public Selector {
 public:
  explicit CriticalFirstSelector(const CriticalRule& rule) : rule_(rule) {}

  bool ranking_depends_on_budget() const override { return true; }
  bool ranking_depends_on_own_budget() const override { return false; }
  bool needs_refinement() const override { return true; }

  std::vector<std::int32_t> rank(const RankRequest& request) const override {
    const PositionRanges& ranges = request.ranges;
    const std::vector<float> scores = elevated_scores(request.importance, ranges, request.set, request.capacity, rule_);
    const auto candidates = std::span(scores).subspan(static_cast<std::size_t>(ranges.candidates_begin),
                                                      static_cast<std::size_t>(ranges.candidates()));
    std::vector<std::int32_t> ranked;
    for (const std::uint32_t index : core::top_ranked(candidates, static_cast<std::size_t>(request.ceiling))) {
      ranked.push_back(static_cast<std::int32_t>(ranges.candidates_begin + index));
    }
    return ranked;
  }

  Index prefix(std::span<const std::int32_t> ranked, const PositionRanges& /*ranges*/, Index slots) const override {
    return std::min(slots, static_cast<Index>(ranked.size()));
  }

 private:
  CriticalRule rule_;
};

// The heads of a layer compete for int(capacity * sets) positions by the scores of the budget.
class CriticalHeadsAllocation final : public Allocation {
 public:
  CriticalHeadsAllocation(const AllocationRequest& request, const CriticalRule& rule)
      : request_(request), rule_(rule) {}

  Index ceiling(const LayerSummary& summary) const override {
    const Index sets = set_count(request_.granularity, summary.layer.shape);
    return std::min(summary.ranges.visible(), summary.ranges.protected_count() + free_slots(summary, sets));
  }

  std::span<const Index> observe(const LayerSummary& summary) override {
    const PositionRanges& ranges = summary.ranges;
    const Index sets = summary.importance.scores->rows();
    const auto scores = elevated_scores(summary.importance, ranges, request_.real_capacity(summary.layer.shape), rule_);
    const std::vector<Index> counts =
        PooledRanking(scores, ranges, TieOrder::kLowerFirst).shares(free_slots(summary, sets));
    for (const Index count : counts) budgets_.push_back(ranges.protected_count() + count);
    return budgets_;
  }

  std::span<const Index> finish() override { return budgets_; }

 private:
  // Of all the layer's kept sets, beside what is protected.
  Index free_slots(const LayerSummary& summary, Index sets) const {
    return request_.total(summary.layer.shape, sets) - sets * summary.ranges.protected_count();
  }

  AllocationRequest request_;
  CriticalRule rule_;
  std::vector<Index> budgets_;  // [layers so far * sets]
};

ParameterList rule_parameters() {
  ParameterList parameters;
  return parameters.add(voting_window_parameter(32))
      .add(yes_no_parameter("repair_limit", true, "a negative limit of the first stage counts as 0"));
}

CriticalRule rule_from(const Parameters& given) {
  return {.window = given.integer("window"), .repair_limit = is_yes(given, "repair_limit")};
}

}  // namespace

std::vector<float> elevated_scores(const Importance& importance, const PositionRanges& ranges, Index set,
                                   double capacity, const CriticalRule& rule) {
  const auto row = importance.scores->row(set);
  std::vector<float> scores(row.begin(), row.end());
  const auto ranks = importance.refinement->row(set).segment(ranges.first_visible, ranges.visible());
  const float critical = ranks.maxCoeff();
  const Index limit = std::min(static_cast<Index>(critical), stage_limit(ranges, capacity, rule));
  const Index last = limit >= 0 ? limit : ranges.visible() - rule.window + limit;
  const float best = largest_score(*importance.scores, ranges);
  for (Index j = 0; j < ranks.size(); ++j) {
    if (critical - ranks[j] < static_cast<float>(last))
      scores[static_cast<std::size_t>(ranges.first_visible + j)] = best;
  }
  return scores;
}

std::shared_ptr<const trace::RowMatrix> elevated_scores(const Importance& importance, const PositionRanges& ranges,
                                                        double capacity, const CriticalRule& rule) {
  auto scores = std::make_shared<trace::RowMatrix>(*importance.scores);
  for (Index set = 0; set < scores->rows(); ++set) {
    std::ranges::copy(elevated_scores(importance, ranges, set, capacity, rule), scores->row(set).data());
  }
  return scores;
}

ScorerDefinition critical_rank_scorer() {
  ParameterList parameters;
  parameters.add(voting_window_parameter(32));
  return {
      .description = "rank by the window's mean attention, from where 90 % of it is held (DefensiveKV's first stage)",
      .parameters = parameters,
      .offered = false,
      .make = [](const Parameters& given) { return std::make_unique<CriticalRankScorer>(given.integer("window")); }};
}

SelectorDefinition critical_first_selector() {
  return {.description = "what holds most of the window's attention first, then the best (DefensiveKV)",
          .parameters = rule_parameters(),
          .offered = false,
          .make = [](const Parameters& given) { return std::make_unique<CriticalFirstSelector>(rule_from(given)); }};
}

AllocatorDefinition critical_heads_allocator() {
  return {.description = "heads of a layer compete, critical positions first (DefensiveKV)",
          .parameters = rule_parameters(),
          .offered = false,
          .make = [](const Parameters& given) {
            return rule_allocator<CriticalHeadsAllocation>({.reads_scores = true}, rule_from(given));
          }};
}

AllocatorDefinition critical_layers_allocator() {
  return {
      .description = "heads of all layers compete, critical positions first (Layer-DefensiveKV)",
      .parameters = rule_parameters(),
      .offered = false,
      .make = [](const Parameters& given) {
        const CriticalRule rule = rule_from(given);
        return all_layers_competition(
            {.scores =
                 [rule](const LayerSummary& summary, double capacity) {
                   return elevated_scores(summary.importance, summary.ranges, capacity, rule);
                 },
             .real_total = true},
            {"critical-heads", {{"window", given.integer("window")}, {"repair_limit", given.choice("repair_limit")}}});
      }};
}

}  // namespace evictlab::sim
