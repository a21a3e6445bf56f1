#include "results/rank_agreement.hpp"

#include <algorithm>
#include <cmath>

#include "results/rank_correlation.hpp"

namespace evictlab::results {
namespace {

constexpr std::size_t kHalvingsOfADraw = 8;

/// By policy, then prompt: a measure, a prediction or the live divergence.
using PolicySeries = std::vector<std::vector<double>>;
/// How often each prompt counts.
using PromptCounts = std::vector<std::size_t>;

std::vector<double> policy_means(const PolicySeries& series, const PromptCounts& counts) {
  std::vector<double> means;
  for (const std::vector<double>& values : series) {
    double sum = 0.0;
    for (std::size_t i = 0; i < values.size(); ++i) sum += static_cast<double>(counts[i]) * values[i];
    means.push_back(sum);
  }
  return means;
}

PolicySeries live_series(const RankedBudget& budget, bool logarithm) {
  PolicySeries series;
  for (const RankedPolicy& policy : budget.policies) {
    std::vector<double>& values = series.emplace_back(policy.kl);
    if (logarithm)
      std::ranges::transform(values, values.begin(), [](double kl) { return std::log(std::max(kl, kKlFloor)); });
  }
  return series;
}

PolicySeries measured_series(const RankedBudget& budget, Measure measure) {
  PolicySeries series;
  for (const RankedPolicy& policy : budget.policies) series.push_back(*policy.measures[index_of(measure)]);
  return series;
}

std::vector<double> foretold_by(const ForetellingMap& map, const std::vector<double>& lost) {
  std::vector<double> foretold;
  for (const double one : lost) foretold.push_back(map.map(one));
  return foretold;
}

PolicySeries foretold_series(const RankedBudget& budget, const ForetellingMap& map) {
  PolicySeries series = measured_series(budget, map.measure);
  for (std::vector<double>& values : series) values = foretold_by(map, values);
  return series;
}

/// Every prompt by the map that did not see its document.
PolicySeries held_out_series(const RankedBudget& budget, const std::vector<std::optional<ForetellingMap>>& maps) {
  PolicySeries series;
  for (const RankedPolicy& policy : budget.policies) {
    std::vector<double>& values = series.emplace_back();
    for (std::size_t i = 0; i < maps.size(); ++i) {
      values.push_back(maps[i]->map((*policy.measures[index_of(maps[i]->measure)])[i]));
    }
  }
  return series;
}

PromptCounts counts_among(const std::vector<bool>& among) { return {among.begin(), among.end()}; }

/// The counts of prompts that are on this side of a halving.
PromptCounts side(const PromptCounts& counts, const std::vector<bool>& first, bool wanted) {
  PromptCounts own = counts;
  for (std::size_t i = 0; i < own.size(); ++i) own[i] = first[i] == wanted ? own[i] : 0;
  return own;
}

bool is_empty(const PromptCounts& counts) {
  return std::ranges::all_of(counts, [](std::size_t count) { return count == 0; });
}

PromptCounts restricted(PromptCounts counts, const std::vector<bool>& among) {
  for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = among[i] ? counts[i] : 0;
  return counts;
}

/// Ranks policies at the budgets of a scope by series of theirs.
class Ranking {
 public:
  Ranking(const RankingScope& scope, const DocumentDraws& draws) : scope_(scope), draws_(draws) {
    for (const RankedBudget* budget : scope.budgets) {
      kl_.push_back(live_series(*budget, false));
      log_kl_.push_back(live_series(*budget, true));
    }
  }

  TauB tau(const std::vector<const PolicySeries*>& foretold, const PromptCounts& a, const PromptCounts& b) const {
    TauB sum;
    for (std::size_t i = 0; i < kl_.size(); ++i) {
      const std::vector<double> means = policy_means(*foretold[i], a);
      sum.mean_kl += kendall_tau_b(means, policy_means(kl_[i], b));
      sum.log_kl += kendall_tau_b(means, policy_means(log_kl_[i], b));
    }
    const auto count = static_cast<double>(kl_.size());
    return {sum.mean_kl / count, sum.log_kl / count};
  }

  void add_same(const std::vector<const PolicySeries*>& foretold, RankAgreement& agreement) const {
    const PromptCounts all = counts_among(scope_.among);
    agreement.same = tau(foretold, all, all);
    if (!scope_.has_halves) return;
    for (const PromptCounts& drawn : draws_.resampled) {
      const PromptCounts own = restricted(drawn, scope_.among);
      if (!is_empty(own)) agreement.same_drawn.push_back(tau(foretold, own, own));
    }
  }

  /// foretold(halving): by budget, what the halving's first half of documents foretells.
  template <typename Foretold>
  void add_transfer(const Foretold& foretold, RankAgreement& agreement) const {
    if (!scope_.has_halves) return;
    const PromptCounts all = counts_among(scope_.among);
    TauB sum;
    double count = 0.0;
    for (std::size_t split = 0; split < draws_.halvings.size(); ++split) {
      if (const auto own = of_halving(foretold(split), split, all)) {
        sum.mean_kl += own->mean_kl;
        sum.log_kl += own->log_kl;
        count += 1.0;
      }
    }
    if (count == 0.0) return;
    agreement.transfer = TauB{sum.mean_kl / count, sum.log_kl / count};
    for (std::size_t draw = 0; draw < draws_.transfer_resampled.size(); ++draw) {
      const PromptCounts drawn = restricted(draws_.transfer_resampled[draw], scope_.among);
      double drawn_sum = 0.0;
      double drawn_count = 0.0;
      for (std::size_t i = 0; i < kHalvingsOfADraw; ++i) {
        const std::size_t split = (draw * kHalvingsOfADraw + i) % draws_.halvings.size();
        if (const auto own = of_halving(foretold(split), split, drawn)) {
          drawn_sum += own->mean_kl;
          drawn_count += 1.0;
        }
      }
      if (drawn_count > 0.0) agreement.transfer_drawn.push_back(drawn_sum / drawn_count);
    }
  }

 private:
  std::optional<TauB> of_halving(const std::vector<const PolicySeries*>& foretold, std::size_t split,
                                 const PromptCounts& counts) const {
    const std::vector<bool>& first = draws_.halvings[split].first;
    const PromptCounts a = side(counts, first, true);
    const PromptCounts b = side(counts, first, false);
    if (is_empty(a) || is_empty(b)) return std::nullopt;
    return tau(foretold, a, b);
  }

  const RankingScope& scope_;
  const DocumentDraws& draws_;
  std::vector<PolicySeries> kl_, log_kl_;  // by budget
};

std::vector<const PolicySeries*> pointers(const std::vector<PolicySeries>& series) {
  std::vector<const PolicySeries*> all;
  for (const PolicySeries& one : series) all.push_back(&one);
  return all;
}

bool has_measure(const RankingScope& scope, Measure measure) {
  return !scope.budgets.empty() &&
         std::ranges::all_of(scope.budgets, [&](const RankedBudget* budget) { return budget->has(measure); });
}

std::optional<RankAgreement> agreement_of_predictions(const RankingScope& scope, const DocumentDraws& draws) {
  const auto usable = [&](const std::optional<ForetellingMap>& map) { return map && has_measure(scope, map->measure); };
  if (scope.budgets.empty() || !std::ranges::all_of(draws.held_out, usable) || draws.held_out.empty()) {
    return std::nullopt;
  }
  const Ranking ranking(scope, draws);
  RankAgreement agreement;
  std::vector<PolicySeries> held_out;
  for (const RankedBudget* budget : scope.budgets) held_out.push_back(held_out_series(*budget, draws.held_out));
  ranking.add_same(pointers(held_out), agreement);
  const bool halves_learned =
      std::ranges::all_of(draws.halvings, [&](const DocumentDraws::Halving& one) { return usable(one.learned); });
  if (!halves_learned) return agreement;
  std::vector<std::vector<PolicySeries>> by_halving;
  for (const DocumentDraws::Halving& halving : draws.halvings) {
    std::vector<PolicySeries>& own = by_halving.emplace_back();
    for (const RankedBudget* budget : scope.budgets) own.push_back(foretold_series(*budget, *halving.learned));
  }
  ranking.add_transfer([&](std::size_t split) { return pointers(by_halving[split]); }, agreement);
  return agreement;
}

}  // namespace

std::optional<RankAgreement> rank_agreement(const RankingScope& scope, Measure measure, const DocumentDraws& draws) {
  if (measure == Measure::kPredictedKl) return agreement_of_predictions(scope, draws);
  if (!has_measure(scope, measure)) return std::nullopt;
  std::vector<PolicySeries> series;
  for (const RankedBudget* budget : scope.budgets) series.push_back(measured_series(*budget, measure));
  const std::vector<const PolicySeries*> foretold = pointers(series);
  const Ranking ranking(scope, draws);
  RankAgreement agreement;
  ranking.add_same(foretold, agreement);
  ranking.add_transfer([&](std::size_t) { return foretold; }, agreement);
  return agreement;
}

std::optional<RankAgreement> live_agreement(const RankingScope& scope, const DocumentDraws& draws) {
  if (scope.budgets.empty()) return std::nullopt;
  const Ranking ranking(scope, draws);
  const auto agreement_of = [&](bool logarithm) {
    std::vector<PolicySeries> series;
    for (const RankedBudget* budget : scope.budgets) series.push_back(live_series(*budget, logarithm));
    RankAgreement agreement;
    ranking.add_transfer([&](std::size_t) { return pointers(series); }, agreement);
    return agreement;
  };
  RankAgreement agreement = agreement_of(false);
  if (agreement.transfer) agreement.transfer->log_kl = agreement_of(true).transfer->log_kl;
  return agreement;
}

}  // namespace evictlab::results
