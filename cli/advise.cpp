#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>

#include "cli/common_options.hpp"
#include "cli/outputs.hpp"
#include "cli/policy_options.hpp"
#include "core/error.hpp"
#include "core/file.hpp"
#include "core/text.hpp"
#include "core/version.hpp"
#include "results/advice.hpp"
#include "sim/policy/imported.hpp"
#include "sim/replay/replay.hpp"
#include "trace/io/joined.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;
using results::CostedRun;

constexpr const char* kPolicies =
    "streaming-llm,h2o,tova,snapkv,pyramidkv,ada-snapkv,ada-pyramid,cake,windowkv,criticalkv,critical-adakv,chunkkv";
constexpr int kGrid = 48;     // budgets tried, equal steps of the logarithm
constexpr int kRefined = 16;  // and then between the two about the target

void declare(Options& options) {
  options.positional("trace", "the traces, of one model: files or directories of parts", Options::Count::kMany);
  options.value("loss", "X", "", "the most that may be lost, for example 0.05");
  options.value("bytes", "SIZE", "", "the most bytes that one sequence may hold, for example 64MiB");
  options.value("measure", "attention|output", "attention",
                "what is lost: attention of the future queries, or the layers' outputs (full tier)");
  options.value("policy", "LIST", kPolicies, "policies to choose from");
  declare_policy_defaults(options);
  options.value("out", "FILE.json", "",
                "budgets per layer and head of the choice, for an engine and for replay --budgets");
  declare_threads(options);
  options.flag("force", "replace an existing file");
}

/// Those of the asked-for policies that an engine could run and the trace can judge.
std::vector<sim::Policy> candidates(const Options& options, const trace::Source& trace) {
  std::vector<sim::Policy> policies;
  std::string reason;
  for (const sim::Policy& policy : sim::make_policies(options.text("policy"), make_options(options))) {
    if (policy.needs().future || (policy.decoding && policy.decoding->needs_future())) {
      reason = fmt::format("policy '{}' reads what the future attends to, which no engine can", policy.name);
      std::cerr << fmt::format("left out: {}\n", reason);
    } else {
      policies.push_back(policy);
    }
  }
  if (policies.empty()) throw core::InputError("advise: {}", reason);
  return usable_policies(policies, trace);
}

sim::ReplayResult replayed(const trace::Source& trace, const std::vector<sim::Policy>& policies,
                           const std::vector<sim::Budget>& budgets, const char* what) {
  sim::ReplayOptions options;
  options.positions = false;
  options.progress = layer_progress(what);
  return sim::replay(trace, policies, budgets, options);
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

std::string line_of(const CostedRun& run, const std::string& name, double full_bytes) {
  return fmt::format("  {:<26}{:>8}{:>9.1f}{:>12}{:>8.1f} %{:>9.4f} [{:.4f}, {:.4f}]\n", name, run.budget, run.slots,
                     core::format_bytes(run.bytes), 100.0 * run.bytes / full_bytes, run.loss.mean, run.loss.low,
                     run.loss.high);
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

/// What is asked for: one of the two.
struct Target {
  std::optional<double> loss;
  std::optional<sim::Budget> bytes;
};

Target target(const Options& options) {
  if (options.has("loss") == options.has("bytes")) throw core::InputError("advise: give --loss or --bytes");
  if (options.has("loss")) return {options.number("loss", 0.0, 1.0), std::nullopt};
  const std::string text = options.text("bytes");
  const std::vector<sim::Budget> budgets = sim::parse_budgets(text);
  if (budgets.size() == 1 && budgets.front().unit() == sim::Budget::Unit::kBytes)
    return {std::nullopt, budgets.front()};
  throw core::InputError("advise: --bytes must be a size such as 64MiB, got '{}'", text);
}

struct Choice {
  sim::Policy policy;
  sim::Budget budget;
  CostedRun run;
};

class Adviser {
 public:
  Adviser(const Options& options, const trace::Source& trace)
      : trace_(trace),
        measure_(options.choice("measure", {"attention", "output"}) == "output" ? results::LossMeasure::kOutput
                                                                                : results::LossMeasure::kAttention),
        policies_(candidates(options, trace)) {}

  /// The cheapest that loses at most `most`; the options of all policies go to stdout.
  Choice for_loss(double most) const {
    trace::Index longest = 0;
    for (const trace::PromptInfo& prompt : trace_.prompts()) longest = std::max(longest, prompt.prompt_length);
    const auto grid = budget_range(std::min<trace::Index>(16, longest), longest, "log", kGrid);
    const auto runs = results::costed_runs(replayed(trace_, policies_, grid, "trying budgets").replay, measure_);
    print_header(
        fmt::format("Cheapest budget of each policy that loses at most {} (upper end of the 95 % interval)", most));
    std::vector<CostedRun> met;
    for (const sim::Policy& policy : policies_) {
      if (const auto best = results::cheapest(of(policy, runs), most)) met.push_back(*best);
    }
    std::ranges::stable_sort(met, {}, &CostedRun::bytes);
    print(met);
    if (met.empty()) {
      throw core::InputError("advise: no policy loses at most {} at any budget up to the whole prompt; raise --loss",
                             most);
    }
    return refined(met.front(), grid, most);
  }

  /// The least lossy that holds at most `bytes`; what all policies lose with that goes to stdout.
  Choice for_bytes(const sim::Budget& bytes) const {
    const double most =
        bytes.real_slots(trace_.model(), 0) *
        static_cast<double>(trace_.model().layers * trace_.model().kv_heads * trace_.model().slot_bytes());
    const auto runs = results::costed_runs(replayed(trace_, policies_, {bytes}, "trying policies").replay, measure_);
    print_header(fmt::format("What each policy loses with {} a sequence", bytes.text()));
    std::vector<CostedRun> held;
    std::ranges::copy_if(runs, std::back_inserter(held), [&](const CostedRun& run) { return run.bytes <= most; });
    std::ranges::stable_sort(held, {}, [](const CostedRun& run) { return run.loss.mean; });
    print(held);
    const auto best = results::least_lossy(runs, most);
    if (!best) throw core::InputError("advise: {} are below what every policy protects; raise --bytes", bytes.text());
    return {policy_of(*best), bytes, *best};
  }

  results::LossMeasure measure() const { return measure_; }

 private:
  static std::vector<CostedRun> of(const sim::Policy& policy, const std::vector<CostedRun>& runs) {
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

  /// Between the budget found and the one below it on the grid.
  Choice refined(const CostedRun& found, const std::vector<sim::Budget>& grid, double most) const {
    const sim::Policy& policy = policy_of(found);
    const auto at = std::ranges::find(grid, found.budget, &sim::Budget::text);
    Choice choice{policy, *at, found};
    if (at == grid.begin() || policy.allocator->traits().ignores_budget) return choice;
    const auto below = std::prev(at)->to_slots(trace_.model(), 0);
    const auto finer = budget_range(below, at->to_slots(trace_.model(), 0), "lin", kRefined);
    const auto runs = results::costed_runs(replayed(trace_, {policy}, finer, "refining").replay, measure_);
    if (const auto best = results::cheapest(runs, most)) {
      choice.run = *best;
      choice.budget = *std::ranges::find(finer, best->budget, &sim::Budget::text);
    }
    return choice;
  }

  void print_header(const std::string& title) const {
    std::cout << fmt::format("{}; {} prompts, {}\n\n  {:<26}{:>8}{:>9}{:>12}{:>10}{:>9}\n", title,
                             trace_.prompts().size(),
                             measure_ == results::LossMeasure::kOutput ? "relative loss of the layers' outputs"
                                                                       : "share of the future's attention",
                             "policy", "budget", "slots", "bytes", "of full", "loss");
  }
  void print(const std::vector<CostedRun>& runs) const {
    const double full = full_cache_bytes(trace_);
    for (const CostedRun& run : runs) std::cout << line_of(run, policy_of(run).label(), full);
  }

  const trace::Source& trace_;
  results::LossMeasure measure_;
  std::vector<sim::Policy> policies_;
};

nlohmann::ordered_json interval(const results::Interval& value) {
  return {{"mean", value.mean}, {"low", value.low}, {"high", value.high}};
}

}  // namespace

int run_advise(const Arguments& arguments) {
  Options options(
      "advise", "TRACE ... --loss X | --bytes SIZE [OPTION ...]",
      "Tells the cheapest policy and budget that loses at most so much, or the policy that loses least for so\n"
      "many bytes, with its interval over the recorded prompts; and the budgets per layer and head that it\n"
      "comes to, for an engine to load. Open loop: see docs/architecture.md before trusting it.");
  declare(options);
  if (!options.parse(arguments)) return 0;
  use_threads(options);
  const Target wanted = target(options);
  const Outputs outputs(options.has("force"));
  std::optional<fs::path> out;
  if (options.has("out")) out = outputs.plan(options.path("out"));
  std::vector<fs::path> paths;
  for (const std::string& path : options.list("trace")) paths.emplace_back(path);
  const auto trace = trace::open_traces(paths);
  for (const trace::PromptInfo& prompt : trace->prompts()) {
    if (static_cast<trace::Index>(prompt.layers.size()) == trace->model().layers) continue;
    throw core::InputError("advise: prompt '{}' has {} of {} layers recorded; budgets are for all", prompt.id,
                           prompt.layers.size(), trace->model().layers);
  }
  for (const trace::PromptInfo& prompt : trace->prompts()) {
    if (options.text("measure") != "output" || prompt.tier == trace::Tier::kFull) continue;
    throw core::InputError(
        "advise: --measure output needs the full tier; prompt '{}' was recorded in the summary tier "
        "(record with --tier full)",
        prompt.id);
  }
  const Adviser adviser(options, *trace);
  const Choice choice = wanted.loss ? adviser.for_loss(*wanted.loss) : adviser.for_bytes(*wanted.bytes);

  // An engine that loads one set of budgets gives every prompt the same: what does that lose?
  const auto budgets = mean_budgets(replayed(*trace, {choice.policy}, {choice.budget}, "dividing").budgets, *trace);
  sim::Policy fixed = choice.policy;
  fixed.allocator = sim::make_imported_allocator(std::make_shared<StaticBudgets>(budgets));
  const auto fixed_runs =
      results::costed_runs(replayed(*trace, {fixed}, {choice.budget}, "checking").replay, adviser.measure());

  const double full = full_cache_bytes(*trace);
  std::cout << "\nAdvice\n" << line_of(choice.run, choice.policy.label(), full);
  if (!fixed_runs.empty()) std::cout << line_of(fixed_runs.front(), "with its mean budgets", full);
  if (out) {
    nlohmann::ordered_json json = {{"format", "evictlab-budgets"},
                                   {"evictlab", core::version()},
                                   {"command", command_line()},
                                   {"model", trace->model().name},
                                   {"model_fingerprint", trace->model().fingerprint},
                                   {"policy", choice.policy.text()},
                                   {"granularity", sim::granularity_name(choice.policy.granularity)},
                                   {"budget", choice.budget.text()},
                                   {"slots", choice.run.slots},
                                   {"bytes", choice.run.bytes},
                                   {"measure", options.text("measure")},
                                   {"loss", interval(choice.run.loss)},
                                   {"recorded_prompts", choice.run.prompts}};
    if (!fixed_runs.empty()) json["loss_with_these_budgets"] = interval(fixed_runs.front().loss);
    json["layers"] = budgets;
    Outputs::make_parent(*out);
    core::write_text(*out, json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
    std::cerr << fmt::format("wrote {}\n", out->string());
  }
  return 0;
}

}  // namespace evictlab::cli
