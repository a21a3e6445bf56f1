#include "results/race.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>
#include <utility>

#include "results/schema.hpp"

namespace evictlab::results {
namespace {

/// c: the largest share of the capital that one bet can lose.
constexpr double kBoldest = 0.95;
/// Halvings of [-1, 1] that find an end to 1e-9.
constexpr int kBisections = 31;

/// What replay says of one method at a budget.
struct ForetoldMethod {
  PolicyKey key;
  std::vector<double> by_document;  // predicted KL, in the documents' order
  bool covered = false;             // by the calibration, on every prompt
  Interval mean;                    // no ends: the calibration has no interval
};

/// Predicted KL by document, means over its prompts; nothing where a run has none.
std::optional<std::vector<double>> by_document(const std::vector<Run>& runs) {
  std::map<std::string, std::pair<double, double>> sums;
  for (const Run& run : runs) {
    const auto predicted = run[Measure::kPredictedKl];
    if (!predicted) return std::nullopt;
    auto& [sum, count] = sums[run.document];
    sum += *predicted;
    count += 1.0;
  }
  std::vector<double> means;
  for (const auto& [document, own] : sums) means.push_back(own.first / own.second);
  return means;
}

bool separated(const ForetoldMethod& leader, const ForetoldMethod& other) {
  if (!leader.covered || !other.covered || !leader.mean.high || !other.mean.low) return false;
  if (!(*other.mean.low > *leader.mean.high)) return false;
  const Interval behind = bootstrap_paired_difference(other.by_document, leader.by_document);
  return behind.low && *behind.low > 0.0;
}

Interval lead_of_means(const Interval& a, const Interval& b) {
  return {.mean = relative_lead(a.mean, b.mean),
          .low = relative_lead(a.upper(), b.lower()),
          .high = relative_lead(a.lower(), b.upper())};
}

/// Whether the policy holds more slots than those at which the budget's methods are compared, mean over prompts.
bool holds_more(const PolicyRuns& policy, const std::string& budget, const SlotCurves& curves) {
  double held = 0.0;
  double compared = 0.0;
  for (const Run& run : policy.runs) {
    held += run.slots_held.value_or(0.0);
    compared += curves.compared(budget, run.prompt).value_or(0.0);
  }
  const auto count = static_cast<double>(policy.runs.size());
  return held > compared && !equal_slots(held / count, compared / count);
}

void add_pair(Table& table, const RaceField& field, const PolicyKey& a, const PolicyKey& b, std::size_t documents,
              const Interval& lead, const char* decided_by) {
  const bool ahead = lead.mean >= 0.0;
  const PolicyKey& better = ahead ? a : b;
  const PolicyKey& worse = ahead ? b : a;
  Row row(table);
  row.set("budget_requested", field.budget)
      .set("policy", better.policy)
      .set("parameters", better.parameters)
      .set("other_policy", worse.policy)
      .set("other_parameters", worse.parameters)
      .set("documents", documents)
      .set("decided_by", decided_by);
  set_interval(row, "lead", ahead ? lead : Interval{-lead.mean, -*lead.high, -*lead.low});
  table.add_row(std::move(row));
}

}  // namespace

double relative_lead(double a, double b) { return std::tanh(std::log(std::max(b, kKlFloor) / std::max(a, kKlFloor))); }

ConfidenceSequence::ConfidenceSequence(double alpha) : alpha_(alpha) {
  if (!(alpha > 0.0 && alpha < 1.0)) throw std::invalid_argument("alpha must lie between 0 and 1");
}

double ConfidenceSequence::log_capital(double mean, bool above) const {
  const double most = kBoldest / (above ? 1.0 + mean : 1.0 - mean);
  double logarithm = 0.0;
  double product = 1.0;  // of the factors since the logarithm was last taken
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const double bet = std::min(bets_[i], most) * (values_[i] - mean);
    product *= above ? 1.0 + bet : 1.0 - bet;
    if (product > 1e-200 && product < 1e200) continue;
    logarithm += std::log(product);
    product = 1.0;
  }
  return logarithm + std::log(product);
}

double ConfidenceSequence::end(bool lower) const {
  // K+ falls and K- rises with m: each refutes a half-line of means.
  const double refuted = std::log(2.0 / alpha_);
  double outside = lower ? low_ : high_;
  double inside = lower ? 1.0 : -1.0;
  if (log_capital(outside, lower) < refuted) return outside;
  for (int i = 0; i < kBisections; ++i) {
    const double middle = 0.5 * (inside + outside);
    (log_capital(middle, lower) >= refuted ? outside : inside) = middle;
  }
  return outside;
}

void ConfidenceSequence::add(double value) {
  if (!(value >= -1.0 && value <= 1.0)) throw std::invalid_argument("a value must lie in [-1, 1]");
  const auto t = static_cast<double>(values_.size() + 1);
  const double variance = (1.0 + squares_) / t;
  bets_.push_back(std::sqrt(2.0 * std::log(2.0 / alpha_) / (variance * t * std::log1p(t))));
  values_.push_back(value);
  sum_ += value;
  const double estimate = sum_ / (t + 1.0);
  squares_ += (value - estimate) * (value - estimate);
  const double low = end(true);
  const double high = end(false);
  if (low > high) return;  // nothing is left, which the guarantee lets happen with probability alpha
  low_ = low;
  high_ = high;
}

Interval ConfidenceSequence::interval() const {
  return {.mean = values_.empty() ? 0.0 : sum_ / static_cast<double>(values_.size()), .low = low_, .high = high_};
}

Race::Race(std::size_t policies, double alpha) : running_(policies, true) {
  for (std::size_t first = 0; first < policies; ++first) {
    for (std::size_t second = first + 1; second < policies; ++second) {
      pairs_.push_back({first, second, ConfidenceSequence(alpha)});
    }
  }
}

void Race::add(std::span<const double> kl) {
  if (kl.size() != running_.size()) throw std::invalid_argument("a divergence by policy is needed");
  std::vector<bool> still = running_;
  for (Pair& pair : pairs_) {
    if (!running_[pair.first] || !running_[pair.second]) continue;
    pair.lead.add(relative_lead(kl[pair.first], kl[pair.second]));
    if (pair.decided()) still[*pair.lead.interval().low > 0.0 ? pair.second : pair.first] = false;
  }
  running_ = std::move(still);
}

bool Race::over() const { return std::ranges::count(running_, true) < 2; }

std::vector<RaceField> race_fields(const Table& replay, const KlPredictor& predictor) {
  require_columns(replay, {"slots_held", "predicted_kl", "calibration"});
  const std::vector<Run> runs = runs_over_layers(replay);
  const SlotCurves curves(runs);
  const std::size_t rests_on = replay.column("calibration");
  std::vector<RaceField> fields;
  for (const BudgetRuns& budget : by_budget(runs)) {
    RaceField field{.budget = budget.budget_text};
    std::vector<ForetoldMethod> foretold;
    for (const PolicyRuns& policy : budget.policies) {
      if (policy.role != Role::kMethod) continue;
      if (!std::ranges::all_of(policy.runs, &Run::feasible)) {
        field.out.push_back({policy.key, Excluded::kCannotRun});
        continue;
      }
      if (holds_more(policy, budget.budget_text, curves)) {
        field.out.push_back({policy.key, Excluded::kMoreSlots});
        continue;
      }
      ForetoldMethod own{.key = policy.key, .by_document = {}, .mean = {}};
      if (auto values = by_document(policy.runs)) {
        own.by_document = std::move(*values);
        own.covered = std::ranges::all_of(policy.runs, [&](const Run& run) {
          return replay.text(run.row, rests_on) == calibrated_name(Calibrated::kLearned);
        });
        own.mean = predictor.mean(own.key, own.by_document, own.by_document.size());
        field.documents = own.by_document.size();
      }
      foretold.push_back(std::move(own));
    }
    // Those without a prediction last.
    std::ranges::stable_sort(
        foretold, {}, [](const ForetoldMethod& one) { return std::pair(one.by_document.empty(), one.mean.mean); });
    const auto leader = std::ranges::find(foretold, true, &ForetoldMethod::covered);
    for (const ForetoldMethod& one : foretold) {
      if (leader != foretold.end() && separated(*leader, one)) {
        field.out.push_back({one.key, Excluded::kPredictedWorse});
        field.separated.push_back({leader->key, one.key, lead_of_means(leader->mean, one.mean)});
      } else {
        field.racing.push_back(one.key);
      }
    }
    fields.push_back(std::move(field));
  }
  return fields;
}

double alpha_of_pair(const std::vector<RaceField>& fields) {
  std::size_t pairs = 0;
  for (const RaceField& field : fields)
    pairs += field.racing.size() * (std::max<std::size_t>(1, field.racing.size()) - 1) / 2;
  return kRaceAlpha / static_cast<double>(std::max<std::size_t>(1, pairs));
}

Table race_table(const std::vector<RaceField>& fields, const std::vector<Race>& races) {
  Table table = new_table("race");
  for (std::size_t i = 0; i < fields.size(); ++i) {
    for (const RaceField::Separated& pair : fields[i].separated) {
      add_pair(table, fields[i], pair.leader, pair.other, fields[i].documents, pair.lead, "replay");
    }
    for (const Race::Pair& pair : races[i].pairs()) {
      add_pair(table, fields[i], fields[i].racing[pair.first], fields[i].racing[pair.second], pair.lead.count(),
               pair.lead.interval(), pair.decided() ? "live" : "open");
    }
  }
  return table;
}

}  // namespace evictlab::results
