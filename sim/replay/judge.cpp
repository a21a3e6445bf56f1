#include "sim/replay/judge.hpp"

#include <algorithm>
#include <bit>
#include <tuple>

#include "analysis/eviction_slots.hpp"
#include "core/parallel.hpp"
#include "core/select.hpp"
#include "sim/policy/future.hpp"
#include "sim/policy/types.hpp"

namespace evictlab::sim {
namespace {

// Finite and not negative, by bits: what is neither has the sign or all of the exponent set, but for -0.
bool all_masses(std::span<const float> row) {
  std::uint32_t wrong = 0;
  for (const float value : row)
    wrong |= static_cast<std::uint32_t>(std::bit_cast<std::uint32_t>(value + 0.0F) >= 0x7F800000U);
  return wrong == 0;
}

std::vector<std::int32_t> protected_positions(const PositionRanges& ranges) {
  std::vector<std::int32_t> positions;
  for (Index j = ranges.first_visible; j < ranges.candidates_begin; ++j)
    positions.push_back(static_cast<std::int32_t>(j));
  for (Index j = ranges.candidates_end; j < ranges.prompt_length; ++j)
    positions.push_back(static_cast<std::int32_t>(j));
  return positions;
}

// Runs that hold prefixes of the same ranking, under the same protection.
using PrefixKey = std::tuple<const Ranking*, Granularity, Index, Index>;
// Oracles with the same kept sets and protection.
using OracleKey = std::tuple<Granularity, Index, Index>;
OracleKey oracle_key(const JudgedLayer& run) {
  return {run.granularity, run.held->ranges.candidates_begin, run.held->ranges.candidates_end};
}

// One kept set of all runs of a prefix key.
struct SetTask {
  Index set = 0;
  const std::vector<std::size_t>* runs = nullptr;
  const trace::RowMatrix* shares = nullptr;
  const OracleCurve* oracle = nullptr;
  const SpanMarks* spans = nullptr;
};

// What the kept sets of every run add up to.
struct RunSums {
  std::vector<analysis::KeptSums> heads;  // [H]
  std::vector<double> missed;             // [sets]: what the oracle retains more, in future shares
  // [sets][span names], in future shares: on positions held, and on all
  std::vector<std::vector<double>> span_held;
  std::vector<std::vector<double>> span_all;
};

// A layer's share of each name, over its kept sets.
std::vector<double> span_shares(const std::vector<std::vector<double>>& held,
                                const std::vector<std::vector<double>>& all) {
  std::vector<double> shares(all.front().size(), 1.0);
  for (std::size_t name = 0; name < shares.size(); ++name) {
    double part = 0.0;
    double whole = 0.0;
    for (std::size_t set = 0; set < all.size(); ++set) {
      part += held[set][name];
      whole += all[set][name];
    }
    if (whole > 0.0) shares[name] = std::min(1.0, part / whole);
  }
  return shares;
}

// Walks a set's ranking once, stopping at every run's count.
void add_up(const SetTask& task, std::span<const JudgedLayer> runs, const analysis::SummaryReference& summary,
            Index query_heads, std::vector<RunSums>& sums) {
  const auto index = static_cast<std::size_t>(task.set);
  const HeldLayer& first = *runs[task.runs->front()].held;
  const PositionRanges& ranges = first.ranges;
  const auto& ranked = first.ranking->order[index];
  std::vector<std::size_t> order = *task.runs;
  std::ranges::stable_sort(order, {}, [&](std::size_t run) { return runs[run].held->counts[index]; });
  std::vector<Index> counts;
  for (const std::size_t run : order) counts.push_back(runs[run].held->counts[index]);

  const auto always = protected_positions(ranges);
  const Index sharing = query_heads / first.sets();
  std::vector<analysis::KeptSums> own(counts.size());
  for (Index head = task.set * sharing; head < (task.set + 1) * sharing; ++head) {
    summary.sums_in_order(head, always, ranked, counts, own);
    for (std::size_t i = 0; i < order.size(); ++i) {
      const bool everything = counts[i] == ranges.candidates();
      sums[order[i]].heads[static_cast<std::size_t>(head)] = everything ? summary.everything(head) : own[i];
    }
  }
  const auto shares = task.shares->row(task.set);
  double mass = protected_share(shares, ranges);
  const SpanMarks& spans = *task.spans;
  std::vector<double> on_spans(spans.names(), 0.0);
  std::vector<double> all_on_spans(spans.names(), 0.0);
  for (const std::int32_t j : always) spans.add(j, shares[j], on_spans);
  for (Index j = ranges.first_visible; j < ranges.prompt_length; ++j) spans.add(j, shares[j], all_on_spans);
  std::size_t summed = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (; summed < static_cast<std::size_t>(counts[i]); ++summed) {
      mass += shares[ranked[summed]];
      spans.add(ranked[summed], shares[ranked[summed]], on_spans);
    }
    sums[order[i]].span_held[index] = counts[i] == ranges.candidates() ? all_on_spans : on_spans;
    sums[order[i]].span_all[index] = all_on_spans;
    if (counts[i] == ranges.candidates()) continue;  // nothing was evicted
    // Sums of the same numbers in another order differ by rounding.
    sums[order[i]].missed[index] = std::max(0.0, task.oracle->best(task.set, counts[i]) - mass);
  }
}

// Judges the outputs of the runs of a prefix key. Runs of equal counts hold the same and are judged once.
void add_output_losses(std::span<const JudgedLayer> runs, const std::vector<std::size_t>& members,
                       const analysis::OutputReference& reference, const trace::LayerShape& shape,
                       std::vector<Measures>& measures) {
  std::map<std::vector<Index>, std::vector<std::size_t>> by_counts;
  for (const std::size_t run : members) by_counts[runs[run].held->counts].push_back(run);
  const JudgedLayer& first = runs[members.front()];
  const auto always = protected_positions(first.held->ranges);
  std::vector<std::vector<Index>> counts(static_cast<std::size_t>(first.held->sets()));  // [sets][distinct runs]
  for (const auto& [of_sets, same] : by_counts) {
    for (std::size_t set = 0; set < counts.size(); ++set) counts[set].push_back(of_sets[set]);
  }
  std::vector<analysis::NestedSets> heads;
  for (Index head = 0; head < shape.query_heads; ++head) {
    const auto set = static_cast<std::size_t>(set_of(first.granularity, shape, head));
    heads.push_back({.always = always, .ranked = first.held->ranking->order[set], .counts = counts[set]});
  }
  const std::vector<analysis::OutputLosses> losses = reference.losses(heads);
  std::size_t next = 0;
  for (const auto& [of_sets, same] : by_counts) {
    for (const std::size_t run : same) measures[run].output = losses[next];
    ++next;
  }
}

}  // namespace

OracleCurve::OracleCurve(const trace::RowMatrix& shares, const PositionRanges& ranges, Index depth) {
  best_.resize(static_cast<std::size_t>(shares.rows()));
  core::parallel_for(best_.size(), [&](std::size_t set) {
    const auto row = shares.row(static_cast<Index>(set));
    const std::span candidates(row.data() + ranges.candidates_begin, static_cast<std::size_t>(ranges.candidates()));
    std::vector<double> best = {protected_share(row, ranges)};
    best.reserve(static_cast<std::size_t>(depth) + 1);
    for (const std::uint32_t index : core::top_ranked(candidates, static_cast<std::size_t>(depth))) {
      best.push_back(best.back() + double{candidates[index]});
    }
    best_[set] = std::move(best);
  });
}

double OracleCurve::best(Index set, Index count) const {
  return best_[static_cast<std::size_t>(set)].at(static_cast<std::size_t>(count));
}

LayerJudge::LayerJudge(const trace::LayerData& data, const std::optional<trace::RowMatrix>& output_weight,
                       const Settings& settings)
    : data_(data),
      future_(trace::future_view(data)),
      spans_(settings.spans, data.shape.prompt_length),
      outputs_(settings.outputs),
      summary_(data.shape, future_) {
  for (const trace::TensorView& view : {future_.mass, future_.output_norms}) {
    for (Index head = 0; head < view.heads(); ++head) {
      if (all_masses(view.float_row(head, 0))) continue;
      throw PolicyError(
          "layer {}: what the future attends to is recorded as numbers that are negative or not finite; "
          "check the trace with evictlab verify",
          data.shape.layer);
    }
  }
  if (output_weight) {
    reference_ = std::make_unique<const analysis::OutputReference>(data.shape, future_, *output_weight);
  }
}

std::vector<Measures> LayerJudge::judge(std::span<const JudgedLayer> runs) const {
  const Index heads = data_.shape.query_heads;
  std::map<Granularity, trace::RowMatrix> shares;
  std::map<PrefixKey, std::vector<std::size_t>> prefixes;
  std::map<OracleKey, Index> depths;
  std::vector<RunSums> sums;
  for (std::size_t run = 0; run < runs.size(); ++run) {
    const HeldLayer& held = *runs[run].held;
    const OracleKey key = oracle_key(runs[run]);
    prefixes[std::tuple_cat(std::tuple(held.ranking.get()), key)].push_back(run);
    for (const Index count : held.counts) depths[key] = std::max(depths[key], count);
    if (!shares.contains(runs[run].granularity)) {
      shares.emplace(runs[run].granularity, future_importance(data_.shape, future_.mass, runs[run].granularity));
    }
    sums.push_back({std::vector<analysis::KeptSums>(static_cast<std::size_t>(heads)),
                    std::vector<double>(static_cast<std::size_t>(held.sets()), 0.0),
                    std::vector<std::vector<double>>(static_cast<std::size_t>(held.sets())),
                    std::vector<std::vector<double>>(static_cast<std::size_t>(held.sets()))});
  }
  std::map<OracleKey, OracleCurve> oracles;
  std::vector<SetTask> tasks;
  for (const auto& [key, members] : prefixes) {
    const JudgedLayer& first = runs[members.front()];
    const trace::RowMatrix& own = shares.at(first.granularity);
    const auto found = oracles.try_emplace(oracle_key(first), own, first.held->ranges, depths.at(oracle_key(first)));
    for (Index set = 0; set < first.held->sets(); ++set)
      tasks.push_back({set, &members, &own, &found.first->second, &spans_});
  }
  core::parallel_for(tasks.size(), [&](std::size_t task) { add_up(tasks[task], runs, summary_, heads, sums); });

  std::vector<Measures> measures(runs.size());
  core::parallel_for(runs.size(), [&](std::size_t run) {
    measures[run].summary = summary_.losses(sums[run].heads);
    double regret = 0.0;
    for (const double set : sums[run].missed) regret += set;
    measures[run].regret = regret / static_cast<double>(heads);
    measures[run].span_mass = span_shares(sums[run].span_held, sums[run].span_all);
  });
  if (!reference_ || !outputs_) return measures;
  for (const auto& [key, members] : prefixes) add_output_losses(runs, members, *reference_, data_.shape, measures);
  return measures;
}

Measures LayerJudge::judge_decoding(const Policy& policy, const LayerRetention& kept) const {
  const trace::LayerView view = trace::layer_view(data_);
  const DecodedLayer decoded = decode_layer(*policy.decoding, view, future_, policy.granularity,
                                            policy.ranges(data_.shape), policy.protection, kept);
  analysis::HoldingTimes times;
  for (Index head = 0; head < data_.shape.query_heads; ++head) {
    times.until.emplace_back(decoded.until[static_cast<std::size_t>(set_of(policy.granularity, data_.shape, head))]);
  }
  const analysis::DecodingLosses losses = reference_->losses(times);
  Measures measures{losses.summary, {}, {}, decoding_span_mass(decoded)};
  if (outputs_) measures.output = losses.output;
  if (data_.shape.sliding_window == 0) measures.regret = decoding_regret(policy, decoded);
  return measures;
}

std::vector<double> LayerJudge::decoding_span_mass(const DecodedLayer& decoded) const {
  if (spans_.names() == 0) return {};
  const Index sharing = data_.shape.query_heads / static_cast<Index>(decoded.until.size());
  const std::size_t sets = decoded.until.size();
  std::vector<std::vector<double>> held(sets, std::vector<double>(spans_.names(), 0.0));
  std::vector<std::vector<double>> all = held;
  for (std::size_t set = 0; set < sets; ++set) {
    const trace::RowMatrix attention = reference_->attention(static_cast<Index>(set) * sharing, sharing);
    for (Index j = 0; j < data_.shape.prompt_length; ++j) {
      if (spans_.at(j).empty()) continue;
      const Eigen::VectorXd paid = attention.col(j).cast<double>();
      spans_.add(j, paid.head(decoded.until[set][static_cast<std::size_t>(j)]).sum(), held[set]);
      spans_.add(j, paid.sum(), all[set]);
    }
  }
  return span_shares(held, all);
}

double LayerJudge::decoding_regret(const Policy& policy, const DecodedLayer& decoded) const {
  const Index queries = data_.shape.future_length;
  const Index sharing = data_.shape.query_heads / static_cast<Index>(decoded.until.size());
  double missed = 0.0;
  for (std::size_t set = 0; set < decoded.until.size(); ++set) {
    const trace::RowMatrix attention = reference_->attention(static_cast<Index>(set) * sharing, sharing);
    const auto& until = decoded.until[set];
    std::vector<std::int32_t> leaving(static_cast<std::size_t>(queries), 0);
    double retained = 0.0;
    for (std::size_t j = 0; j < until.size(); ++j) {
      if (until[j] < queries) ++leaving[static_cast<std::size_t>(until[j])];
      retained += attention.col(static_cast<Index>(j)).head(until[j]).cast<double>().sum();
    }
    const PositionRanges ranges = policy.ranges(data_.shape);
    const analysis::EvictionTimes best =
        analysis::optimal_eviction(attention, {.capacity = leaving,
                                               .sinks = ranges.candidates_begin,
                                               .recent = ranges.prompt_length - ranges.candidates_end});
    missed += std::max(0.0, best.retained - retained);
  }
  return missed / static_cast<double>(queries * data_.shape.query_heads);
}

}  // namespace evictlab::sim
