#include "lab/advise.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <memory>

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/text.hpp"
#include "core/version.hpp"
#include "lab/calibration_input.hpp"
#include "lab/result_folder.hpp"
#include "results/equal_slots.hpp"
#include "sim/policy/imported.hpp"
#include "sim/replay/replay.hpp"
#include "trace/io/joined.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;
using results::CostedRun;

constexpr int kGrid = 48;     // budgets tried, equal steps of the logarithm
constexpr int kRefined = 16;  // and then between the two about the target

/// Those of the named policies that an engine could run and the trace can judge.
std::vector<sim::Policy> advisable_policies(const PolicyRequest& request, const trace::Source& trace,
                                            Observer& observer) {
  const auto why_not = [](const sim::Policy& policy) -> std::optional<std::string> {
    if (!policy.needs().future && !(policy.decoding && policy.decoding->needs_future())) return std::nullopt;
    return fmt::format("policy '{}' reads what the future attends to, which no engine can", policy.name);
  };
  return usable_policies(selected_policies(make_policies(request, observer), why_not, observer), trace, observer);
}

std::vector<sim::Budget> budget_range(trace::Index first, trace::Index last, const char* kind, int steps) {
  if (first >= last) return {sim::Budget::slots(last)};
  return sim::parse_budgets(fmt::format("{}:{}:{}{}", first, last, kind, steps));
}

/// The same budgets for every prompt.
class StaticBudgets final : public sim::ImportedBudgets {
 public:
  explicit StaticBudgets(std::vector<std::vector<trace::Index>> layers) : layers_(std::move(layers)) {}
  std::vector<trace::Index> positions(const std::string&, const trace::LayerShape& shape) const override {
    return layers_.at(static_cast<std::size_t>(shape.layer));
  }

 private:
  std::vector<std::vector<trace::Index>> layers_;  // [L][sets]
};

/// What each layer's kept sets hold on average, in whole positions: [L][sets].
std::vector<std::vector<trace::Index>> mean_budgets(const results::Table& budgets, const trace::Source& trace) {
  std::map<std::pair<trace::Index, trace::Index>, double> sums;
  const auto whole = [&](std::size_t row, const char* column) {
    return static_cast<trace::Index>(*budgets.number(row, budgets.column(column)));
  };
  for (std::size_t row = 0; row < budgets.rows(); ++row) {
    sums[{whole(row, "layer"), whole(row, "head")}] += static_cast<double>(whole(row, "slots"));
  }
  std::vector<double> means;
  for (const auto& [place, sum] : sums) means.push_back(sum / static_cast<double>(trace.prompts().size()));
  const std::vector<std::int64_t> rounded = results::rounded_together(means);
  std::vector<std::vector<trace::Index>> layers(static_cast<std::size_t>(trace.model().layers));
  for (std::size_t i = 0; const auto& [place, sum] : sums) {
    layers[static_cast<std::size_t>(place.first)].push_back(static_cast<trace::Index>(rounded[i++]));
  }
  return layers;
}

/// What one sequence's cache takes when nothing is evicted, mean over prompts.
double full_cache_bytes(const trace::Source& trace) {
  double bytes = 0.0;
  for (const trace::PromptInfo& prompt : trace.prompts()) {
    bytes += static_cast<double>(prompt.prompt_length * trace.model().layers * trace.model().kv_heads *
                                 trace.model().slot_bytes());
  }
  return bytes / static_cast<double>(trace.prompts().size());
}

/// The size that a sequence may hold; none where a loss is the target.
std::optional<sim::Budget> target_bytes(const AdviseOptions& options) {
  if (options.loss.has_value() != options.bytes.empty()) {
    throw core::InputError("advise: give --loss or --bytes");
  }
  if (options.loss) {
    const double most = options.measure == "kl" ? std::numeric_limits<double>::max() : 1.0;
    if (*options.loss >= 0.0 && *options.loss <= most) return std::nullopt;
    throw core::InputError("advise: --loss takes a number, 0 to 1, got '{}'", *options.loss);
  }
  const std::vector<sim::Budget> budgets = sim::parse_budgets(options.bytes);
  if (budgets.size() == 1 && budgets.front().unit() == sim::Budget::Unit::kBytes) return budgets.front();
  throw core::InputError("advise: --bytes must be a size such as 64MiB, got '{}'", options.bytes);
}

results::Measure loss_measure(const AdviseOptions& options) {
  if (options.measure == "attention") return results::Measure::kRetainedMass;
  if (options.measure == "output") return results::Measure::kRelativeLoss;
  if (options.measure == "kl") return results::Measure::kPredictedKl;
  throw core::InputError("advise: --measure takes one of attention, output, kl, got '{}'", options.measure);
}

/// Every prompt must be able to judge budgets for all layers.
void check_advisable(const AdviseOptions& options, const trace::Source& trace) {
  for (const trace::PromptInfo& prompt : trace.prompts()) {
    if (static_cast<trace::Index>(prompt.layers.size()) == trace.model().layers) continue;
    throw core::InputError("advise: prompt '{}' has {} of {} layers recorded; budgets are for all", prompt.id,
                           prompt.layers.size(), trace.model().layers);
  }
  if (options.measure == "kl" && !options.calibration) {
    throw core::InputError(
        "advise: a KL divergence is foretold by a calibration; evictlab validate writes one as calibration.json, for "
        "--calibration");
  }
  for (const trace::PromptInfo& prompt : trace.prompts()) {
    if (options.measure != "output" || prompt.tier == trace::Tier::kFull) continue;
    throw core::InputError(
        "advise: --measure output needs the full tier; prompt '{}' was recorded in the summary tier "
        "(record with --tier full)",
        prompt.id);
  }
}

/// Searches the runs of policies at budgets for those that meet a target.
class Adviser {
 public:
  Adviser(const AdviseOptions& options, const trace::Source& trace, Observer& observer)
      : trace_(trace),
        measure_(loss_measure(options)),
        predictor_(read_predictor(options.calibration, trace.model())),
        observer_(observer),
        policies_(advisable_policies(options.policies, trace, observer)) {
    outcome_.prompts = trace.prompts().size();
    outcome_.loss_words = measure_ == results::Measure::kRelativeLoss  ? "relative loss of the layers' outputs"
                          : measure_ == results::Measure::kPredictedKl ? "KL divergence foretold, in nats"
                                                                       : "share of the future's attention";
    outcome_.full_bytes = full_cache_bytes(trace);
    outcome_.model = trace.model().name;
    outcome_.model_fingerprint = trace.model().fingerprint;
  }

  /// Chooses the cheapest run that loses at most `most`.
  void choose_for_loss(double most) {
    const auto longest = static_cast<trace::Index>(longest_prompt());
    const auto grid = budget_range(std::min<trace::Index>(16, longest), longest, "log", kGrid);
    const auto runs = costed(policies_, grid, "trying budgets");
    outcome_.title = fmt::format("Cheapest budget of each policy that loses at most {} ({})", most, interval_words());
    std::vector<CostedRun> met;
    for (const sim::Policy& policy : policies_) {
      if (const auto best = results::cheapest(runs_of(policy, runs), most)) met.push_back(*best);
    }
    std::ranges::stable_sort(met, {}, &CostedRun::bytes);
    list_candidates(met);
    if (met.empty()) {
      throw core::InputError("advise: no policy loses at most {} at any budget up to the whole prompt; raise --loss",
                             most);
    }
    refine(met.front(), grid, most);
  }

  /// Chooses the run that loses least of those that hold at most `bytes`.
  void choose_for_bytes(const sim::Budget& bytes) {
    const double most =
        bytes.real_slots(trace_.model(), 0) *
        static_cast<double>(trace_.model().layers * trace_.model().kv_heads * trace_.model().slot_bytes());
    const std::vector<CostedRun> asked = costed(policies_, {bytes}, "trying policies");
    outcome_.title = fmt::format("What each policy loses with {} a sequence", bytes.text());
    std::vector<CostedRun> held;
    std::vector<sim::Budget> budgets = {bytes};
    std::string unmet;
    for (const sim::Policy& policy : policies_) {
      std::vector<CostedRun> runs = runs_of(policy, asked);
      if (runs.empty()) continue;  // below what it protects
      const double at_asked = runs.front().bytes;
      const std::vector<sim::Budget> around = budgets_about(policy, bytes, at_asked / most);
      if (!around.empty()) {
        const auto more = costed({policy}, around, "fitting budgets");
        runs.insert(runs.end(), more.begin(), more.end());
        budgets.insert(budgets.end(), around.begin(), around.end());
      }
      if (const auto best = results::least_lossy(runs, most)) {
        held.push_back(*best);
      } else {
        unmet = fmt::format("{} holds {} at a budget of {}, and no smaller one that was tried fits", policy.label(),
                            core::format_bytes(at_asked), bytes.text());
        observer_.message(Topic::kLeftOut, unmet);
      }
    }
    std::ranges::stable_sort(held, {}, [](const CostedRun& run) { return std::pair(run.loss.mean, run.bytes); });
    list_candidates(held);
    if (held.empty() && !unmet.empty()) throw core::InputError("advise: {}; raise --bytes", unmet);
    if (held.empty()) {
      throw core::InputError("advise: {} are below what every policy protects; raise --bytes", bytes.text());
    }
    const CostedRun& best = held.front();
    choose(policy_of(best), *std::ranges::find(budgets, best.budget, &sim::Budget::text), best);
  }

  /// The choice with its mean budgets, and what they cost: an engine that loads one set of budgets gives every prompt
  /// the same.
  AdviseOutcome finish() {
    outcome_.budgets = mean_budgets(replayed({outcome_.policy}, {outcome_.budget}, "dividing").budgets, trace_);
    sim::Policy fixed = outcome_.policy;
    fixed.allocator = sim::make_imported_allocator(std::make_shared<StaticBudgets>(outcome_.budgets));
    const auto runs = costed({fixed}, {outcome_.budget}, "checking");
    if (!runs.empty()) outcome_.fixed = runs.front();
    return std::move(outcome_);
  }

 private:
  /// Which end of the loss meets the target.
  std::string interval_words() const {
    if (measure_ != results::Measure::kPredictedKl) {
      return outcome_.prompts == 1 ? "one prompt, so without an interval" : "upper end of the 95 % interval";
    }
    const bool known = predictor_ && predictor_->calibration().model_fingerprint == outcome_.model_fingerprint &&
                       !predictor_->calibration().learned.mean_factors.empty();
    return known ? "upper end of the 90 % interval" : "foretold without an interval";
  }
  sim::ReplayResult replayed(const std::vector<sim::Policy>& policies, const std::vector<sim::Budget>& budgets,
                             const char* label) const {
    sim::ReplayOptions options;
    options.positions = false;
    options.curves = false;
    options.predictor = pointer_to(predictor_);
    options.progress = progress_to(observer_, {label});
    return sim::replay(trace_, policies, budgets, options);
  }

  std::vector<CostedRun> costed(const std::vector<sim::Policy>& policies, const std::vector<sim::Budget>& budgets,
                                const char* label) const {
    return results::costed_runs(replayed(policies, budgets, label).replay, measure_, pointer_to(predictor_));
  }

  static std::vector<CostedRun> runs_of(const sim::Policy& policy, const std::vector<CostedRun>& runs) {
    std::vector<CostedRun> own;
    std::ranges::copy_if(runs, std::back_inserter(own), [&](const CostedRun& run) {
      return run.policy == policy.name && run.parameters == policy.parameters;
    });
    return own;
  }

  const sim::Policy& policy_of(const CostedRun& run) const {
    return *std::ranges::find_if(policies_, [&](const sim::Policy& policy) {
      return run.policy == policy.name && run.parameters == policy.parameters;
    });
  }

  double longest_prompt() const {
    trace::Index longest = 0;
    for (const trace::PromptInfo& prompt : trace_.prompts()) longest = std::max(longest, prompt.prompt_length);
    return static_cast<double>(longest);
  }

  void list_candidates(const std::vector<CostedRun>& runs) {
    for (const CostedRun& run : runs) outcome_.candidates.push_back({policy_of(run).label(), run});
  }

  void choose(const sim::Policy& policy, const sim::Budget& budget, const CostedRun& run) {
    outcome_.policy = policy;
    outcome_.budget = budget;
    outcome_.run = run;
  }

  /// Budgets to try for a policy that holds `ratio` times the bytes asked for: what is held counts, not what is asked.
  /// None for one that holds about as much, or the same whatever the budget.
  std::vector<sim::Budget> budgets_about(const sim::Policy& policy, const sim::Budget& bytes, double ratio) const {
    const double slots = bytes.real_slots(trace_.model(), 0);
    if (results::equal_slots(slots * ratio, slots) && ratio <= 1.0) return {};
    if (policy.allocator->traits().ignores_budget || ratio <= 0.0) return {};
    // A policy may add the same to every budget or multiply it: smaller than in proportion, or larger.
    const double in_proportion = slots / ratio;
    const double low = ratio > 1.0 ? in_proportion / ratio : slots;
    const double high = ratio > 1.0 ? slots : std::min(in_proportion / ratio, longest_prompt());
    const auto whole = [](double count) { return std::max<trace::Index>(1, static_cast<trace::Index>(count)); };
    return budget_range(whole(low), whole(high), "lin", kRefined);
  }

  /// Chooses between the budget found and the one below it on the grid.
  void refine(const CostedRun& found, const std::vector<sim::Budget>& grid, double most) {
    const sim::Policy& policy = policy_of(found);
    const auto at = std::ranges::find(grid, found.budget, &sim::Budget::text);
    choose(policy, *at, found);
    if (at == grid.begin() || policy.allocator->traits().ignores_budget) return;
    const auto below = std::prev(at)->to_slots(trace_.model(), 0);
    const auto finer = budget_range(below, at->to_slots(trace_.model(), 0), "lin", kRefined);
    const auto runs = costed({policy}, finer, "refining");
    if (const auto best = results::cheapest(runs, most)) {
      choose(policy, *std::ranges::find(finer, best->budget, &sim::Budget::text), *best);
    }
  }

  const trace::Source& trace_;
  results::Measure measure_;
  std::optional<results::KlPredictor> predictor_;
  Observer& observer_;
  std::vector<sim::Policy> policies_;
  AdviseOutcome outcome_;
};

nlohmann::ordered_json interval_json(const results::Interval& value) {
  const auto end = [](const std::optional<double>& at) { return at ? nlohmann::ordered_json(*at) : nullptr; };
  return {{"mean", value.mean}, {"low", end(value.low)}, {"high", end(value.high)}};
}

nlohmann::ordered_json budgets_json(const AdviseOptions& options, const AdviseOutcome& outcome) {
  nlohmann::ordered_json json = {{"format", "evictlab-budgets"},
                                 {"evictlab", core::version()},
                                 {"command", options.command},
                                 {"model", outcome.model},
                                 {"model_fingerprint", outcome.model_fingerprint},
                                 {"policy", outcome.policy.text()},
                                 {"granularity", sim::granularity_name(outcome.policy.granularity)},
                                 {"budget", outcome.budget.text()},
                                 {"slots", outcome.run.slots},
                                 {"bytes", outcome.run.bytes},
                                 {"measure", options.measure},
                                 {"loss", interval_json(outcome.run.loss)},
                                 {"recorded_prompts", outcome.run.prompts}};
  if (outcome.fixed) json["loss_with_these_budgets"] = interval_json(outcome.fixed->loss);
  json["layers"] = outcome.budgets;
  return json;
}

std::string line_of_run(const CostedRun& run, const std::string& name, double full_bytes) {
  const std::string interval =
      run.loss.low ? fmt::format(" [{:.4f}, {:.4f}]", run.loss.lower(), run.loss.upper()) : std::string();
  return fmt::format("  {:<26}{:>8}{:>9.1f}{:>12}{:>8.1f} %{:>9.4f}{}\n", name, run.budget, run.slots,
                     core::format_bytes(run.bytes), 100.0 * run.bytes / full_bytes, run.loss.mean, interval);
}

}  // namespace

AdviseOutcome advise(const AdviseOptions& options, Observer& observer) {
  const std::optional<sim::Budget> bytes = target_bytes(options);
  ResultFolder folder(options.force, options.command, Inputs().add(options.traces).add(options.calibration));
  if (options.out) folder.plan(*options.out);
  const std::unique_ptr<trace::Source> trace = trace::open_traces(options.traces);
  check_advisable(options, *trace);
  Adviser adviser(options, *trace, observer);
  if (bytes) {
    adviser.choose_for_bytes(*bytes);
  } else {
    adviser.choose_for_loss(*options.loss);
  }
  AdviseOutcome outcome = adviser.finish();
  if (options.out) {
    folder.write(*options.out, json_text(budgets_json(options, outcome), 1));
    folder.commit();
  }
  return outcome;
}

std::string advice_text(const AdviseOutcome& outcome) {
  std::string text =
      fmt::format("{}; {} prompts, {}\n\n  {:<26}{:>8}{:>9}{:>12}{:>10}{:>9}\n", outcome.title, outcome.prompts,
                  outcome.loss_words, "policy", "budget", "slots", "bytes", "of full", "loss");
  for (const AdvisedRun& candidate : outcome.candidates) {
    text += line_of_run(candidate.run, candidate.label, outcome.full_bytes);
  }
  text += "\nAdvice\n" + line_of_run(outcome.run, outcome.policy.label(), outcome.full_bytes);
  if (outcome.fixed) text += line_of_run(*outcome.fixed, "with its mean budgets", outcome.full_bytes);
  return text;
}

}  // namespace evictlab::lab
