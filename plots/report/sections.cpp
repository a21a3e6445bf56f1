#include "plots/report/sections.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>

#include "core/text.hpp"
#include "plots/series.hpp"
#include "results/calibration.hpp"
#include "results/equal_slots.hpp"
#include "results/findings.hpp"
#include "results/rows.hpp"
#include "results/sensitivity.hpp"
#include "results/task_values.hpp"

namespace evictlab::plots {
namespace {

using results::kAllTasks;
using results::Table;
using results::TaskValues;

std::string percent(double share, int decimals = 0) { return fmt::format("{:.{}f}", 100 * share, decimals); }

/// "95 % interval 1.0 to 2.0" with a unit after each number; nothing where there is none.
std::string interval_words(const results::Interval& value, const char* unit) {
  if (!value.low) return {};
  return fmt::format("95 % interval {}{} to {}{}", percent(value.lower(), 1), unit, percent(value.upper(), 1), unit);
}

/// "0.031", "1.73": three digits.
std::string quantity(double value) { return fmt::format("{:.3g}", value); }

/// What a measure's values read like.
struct MeasureWords {
  results::Measure measure;

  bool is_share() const { return results::is_share(measure); }
  bool is_foretold() const { return measure == results::Measure::kPredictedKl; }
  /// "64.0 %", "0.31 nats"
  std::string value(double mean) const {
    return is_share() ? percent(mean, 1) + " %" : fmt::format("{} {}", quantity(mean), results::info(measure).unit);
  }
  /// "95 % interval 50.0 % to 80.0 %", "90 % interval 0.2 to 0.5 nats"; empty where there is none.
  std::string interval(const results::Interval& value) const {
    if (!value.low) return {};
    if (is_share()) return interval_words(value, " %");
    return fmt::format("{} % interval {} to {}", is_foretold() ? 90 : 95, quantity(value.lower()),
                       quantity(value.upper()));
  }
  /// "2.3 points (95 % interval 1.0 to 3.0)", "0.1 nats (95 % interval 0.05 to 0.2)"
  std::string difference(const results::Interval& value) const {
    std::string ends;
    if (value.low && is_share()) ends = interval_words(value, "");
    if (value.low && !is_share()) {
      ends = fmt::format("95 % interval {} to {}", quantity(value.lower()), quantity(value.upper()));
    }
    return fmt::format("{}{}", is_share() ? percent(value.mean, 1) + " points" : this->value(value.mean),
                       ends.empty() ? "" : " (" + ends + ")");
  }
  /// What the best one does.
  std::string does(double mean) const {
    if (measure == results::Measure::kRetainedMass) return fmt::format("keeps {} of the attention", value(mean));
    if (is_foretold()) return fmt::format("will cost {} of KL divergence", value(mean));
    return fmt::format("has the least {}: {}", results::info(measure).label, value(mean));
  }
};

/// "128", "126.5"
std::string slots_text(double slots) {
  std::string text = fmt::format("{:.1f}", slots);
  return text.ends_with(".0") ? text.substr(0, text.size() - 2) : text;
}

std::string prompt_count(std::size_t prompts) {
  return prompts == 1 ? std::string("one prompt") : fmt::format("{} prompts", prompts);
}

/// "2.3 points (95 % interval ...) below the ceiling oracle". A policy that gives some layers or
/// heads more than others can be above an oracle that gives all the same.
std::string distance_to_ceiling(const results::BudgetAnswer& answer) {
  const MeasureWords words{answer.measure};
  const bool higher = results::info(answer.measure).better == results::Better::kHigher;
  const results::Interval& below = answer.below_ceiling;
  if (below.mean >= 0) {
    return fmt::format("{} {} the ceiling {}", words.difference(below), higher ? "below" : "above", answer.ceiling);
  }
  const bool equal_counts = answer.ceiling.starts_with("oracle") && answer.ceiling.find("over=") == std::string::npos;
  const auto negative = [](const std::optional<double>& value) {
    return value ? std::optional(-*value) : std::nullopt;
  };
  const results::Interval above{.mean = -below.mean, .low = negative(below.high), .high = negative(below.low)};
  return fmt::format("{} {} the ceiling {}{}", words.difference(above), higher ? "above" : "below", answer.ceiling,
                     equal_counts ? " (equal counts per head)" : "");
}

std::string layer_list(const std::vector<int>& layers) {
  return fmt::format("{} {}", layers.size() == 1 ? "layer" : "layers", fmt::join(layers, ", "));
}

/// A table with rows; null otherwise.
const Table* filled_table(const ResultTables& tables, std::string_view name) {
  const Table* const table = find_table(tables, name);
  return table == nullptr || table->rows() == 0 ? nullptr : table;
}

/// Findings by policy, in the order of the table's legend: with the label of each.
template <typename Finding>
std::vector<std::pair<std::string, Finding>> in_legend_order(const Table& table, const std::vector<Finding>& findings) {
  std::vector<std::pair<std::string, Finding>> ordered;
  for (const Series& series : series_of(table)) {
    const auto found = std::ranges::find(findings, series.key, &Finding::policy);
    if (found != findings.end()) ordered.emplace_back(series.label, *found);
  }
  return ordered;
}

/// A preference over layers, and how a sentence on it goes.
struct Preference {
  const char* quantity;
  const char* says;   // followed by the layers
  const char* moves;  // after the share by which two tasks differ
};

/// Nothing when fewer than two tasks have it.
std::optional<std::string> preference_sentence(const TaskValues& values, const Preference& preference) {
  std::map<int, std::vector<std::string>> tasks_by_layer;
  std::map<std::string, results::LayerShares> by_task;
  for (const std::string& task : values.tasks()) {
    const auto& layers = values.at(preference.quantity, task);
    if (layers.empty()) continue;
    tasks_by_layer[results::leading_layers(layers).front()].push_back(task.empty() ? "no task" : task);
    by_task[task] = results::layer_shares(layers);
  }
  const auto shift = results::largest_shift(by_task);
  if (!shift) return std::nullopt;
  std::vector<std::string> parts;
  for (const auto& [layer, tasks] : tasks_by_layer) {
    parts.push_back(tasks_by_layer.size() == 1 ? fmt::format("{} for every task", layer_list({layer}))
                                               : fmt::format("{} for {}", layer_list({layer}), fmt::join(tasks, ", ")));
  }
  return fmt::format("{} {}; between {} and {}, which differ most, {} % {}.", preference.says, fmt::join(parts, "; "),
                     shift->first, shift->second, percent(shift->distance), preference.moves);
}

}  // namespace

std::vector<Section> report_sections(const ResultTables& tables, const std::string& no_replay) {
  const auto unless_replayed = [&](const char* why) { return no_replay.empty() ? std::string(why) : no_replay; };
  return {{.id = "loss",
           .heading = "What eviction costs",
           .missing = unless_replayed("No replay.csv is there, or none of its policies could be measured on every "
                                      "prompt.")},
          {.id = "needles",
           .heading = "Where needles are lost",
           .missing = unless_replayed("No spans.csv is there, or no prompt marks a span called needle."),
           .table = needle_findings(tables)},
          {.id = "patterns",
           .heading = "How layers and heads attend",
           .missing = "No table of analyze is there.",
           .sentences = pattern_findings(tables)},
          {.id = "tasks",
           .heading = "What each task asks of the layers",
           .missing = "This needs tasks.csv and attention.csv with at least two tasks.",
           .sentences = task_findings(tables)},
          {.id = "sensitivity",
           .heading = "Which layers the model is sensitive to",
           .missing = "What evicting in one layer costs was not measured (analyze --sensitivity, validate "
                      "--sensitivity).",
           .sentences = sensitivity_findings(tables),
           .table = sensitivity_orders(tables)},
          {.id = "budgets",
           .heading = "Where the budget goes",
           .missing = unless_replayed("No budgets.csv or positions.csv is there."),
           .table = budget_findings(tables)},
          {.id = "foresight",
           .heading = "How far the future can be foreseen",
           .missing = "This needs future queries, recorded in the full tier."},
          {.id = "live",
           .heading = "Prediction against outcome",
           .missing = "No tables of evictlab validate are there: what becomes of the model's answers was not measured.",
           .table = calibration_findings(tables)},
          {.id = "differences", .heading = "What differs between two recordings"}};
}

namespace {

/// "At 64 slots", "At 0.1 of the prompt (51.2 slots)", "At 256KiB (62 slots)": a ratio or bytes as they are asked for.
std::string at_budget(const results::BudgetAnswer& answer) {
  const std::string slots = slots_text(answer.slots) + " slots";
  if (core::parse_integer(answer.budget)) return "At " + slots;
  const bool is_ratio = core::parse_number(answer.budget).has_value();
  return fmt::format("At {}{} ({})", answer.budget, is_ratio ? " of the prompt" : "", slots);
}

}  // namespace

std::string sentence(const results::BudgetAnswer& answer) {
  const results::Contender& best = answer.contenders.front();
  const MeasureWords words{answer.measure};
  const std::string interval = words.interval(best.value);
  std::string text = fmt::format("{}, {} {} ({}{})", at_budget(answer), best.label, words.does(best.value.mean),
                                 interval.empty() ? "" : interval + "; ", prompt_count(answer.prompts));
  if (!answer.ceiling.empty()) text += ", " + distance_to_ceiling(answer);
  text += ".";
  if (answer.contenders.size() > 1) {
    const results::Contender& second = answer.contenders[1];
    std::vector<std::string> alike;
    for (const results::Contender& one : answer.contenders) {
      if (&one != &best && one.behind.low && *one.behind.low <= 0) alike.push_back(one.label);
    }
    const bool leads = second.behind.lower() > 0;  // with one prompt, as far as it goes
    text += leads               ? fmt::format(" It leads {} by {}.", second.label, words.difference(second.behind))
            : second.behind.low ? fmt::format(" It does not differ from {} within the paired interval: {}.",
                                              second.label, words.difference(second.behind))
                                : fmt::format(" {} {} as much.", second.label,
                                              answer.measure == results::Measure::kRetainedMass ? "keeps" : "loses");
    if (alike.size() > 1)
      text += fmt::format(" Nor can it be distinguished from {}.", fmt::join(alike.begin() + 1, alike.end(), ", "));
  }
  if (!answer.control.empty() && answer.over_control.lower() <= 0) {
    text += fmt::format(" The control {} is as good: {}.", answer.control, words.difference(answer.over_control));
  }
  std::vector<std::string> between;
  for (const results::Contender& one : answer.contenders) {
    if (!results::equal_slots(one.held, answer.slots)) {
      between.push_back(fmt::format("{} ({} held)", one.label, slots_text(one.held)));
    }
  }
  if (!between.empty()) {
    text += fmt::format(" Asked for {}, other slots are held by {}: compared between budgets.", answer.budget,
                        fmt::join(between, ", "));
  }
  std::vector<std::string> left_out;
  for (const results::LeftOut& one : answer.left_out) {
    left_out.push_back(fmt::format("{} ({} held)", one.label, slots_text(one.held)));
  }
  if (!left_out.empty()) {
    text += fmt::format(" Not compared, for want of budgets that hold as many slots: {}.", fmt::join(left_out, ", "));
  }
  return text;
}

std::string task_sentence(const results::BudgetAnswer& answer) {
  if (answer.tasks.empty()) return {};
  const MeasureWords words{answer.measure};
  std::map<std::string, std::vector<std::string>> by_best;
  std::vector<std::string> behind;
  const std::string& leader = answer.contenders.front().label;
  for (const results::TaskAnswer& task : answer.tasks) {
    by_best[task.best].push_back(task.task.empty() ? "no task" : task.task);
    if (task.best == leader || !task.leader_behind.low || *task.leader_behind.low <= 0) continue;
    behind.push_back(
        fmt::format("on {} it is behind {} by {}", task.task, task.best, words.difference(task.leader_behind)));
  }
  std::vector<std::string> bests;
  for (const auto& [best, tasks] : by_best) bests.push_back(fmt::format("{} on {}", best, fmt::join(tasks, ", ")));
  std::string text = fmt::format("{} by task, the best is {}.", at_budget(answer), fmt::join(bests, "; "));
  if (!behind.empty()) text += fmt::format(" {} leads on average, but {}.", leader, fmt::join(behind, "; "));
  if (answer.worst_task) {
    text += fmt::format(" On its worst task, {} is the best: {} on {}.", answer.worst_task->best,
                        words.value(answer.worst_task->value), answer.worst_task->task);
  }
  return text;
}

SmallTable choices(const std::vector<results::BudgetAnswer>& answers) {
  const results::Measure measure = answers.empty() ? results::Measure::kRetainedMass : answers.front().measure;
  const MeasureWords words{measure};
  const results::MeasureInfo& info = results::info(measure);
  const std::string name = measure == results::Measure::kRetainedMass ? "Retained attention mass"
                           : words.is_foretold()                      ? "Foretold KL divergence"
                                                                      : "Squared error of the attention outputs";
  SmallTable table{
      .caption =
          fmt::format("{} by policy and budget, mean over {}prompts, and how far behind the best at that budget; 95 % "
                      "bootstrap intervals, paired over prompts. Policies are compared with equally many "
                      "slots: one that holds others at a budget is read between its budgets, or not compared (-)",
                      name, words.is_share() ? "layers and " : ""),
      .columns = {"policy", "budget", "held, slots", "compared at, slots",
                  words.is_share() ? "retained, %" : fmt::format("{}, {}", info.label, info.unit),
                  fmt::format("behind the best, {}", words.is_share() ? std::string_view("points") : info.unit), "low",
                  "high", "n, prompts"}};
  const auto number = [&](double value) { return words.is_share() ? percent(value, 2) : quantity(value); };
  const auto end = [&](const std::optional<double>& at) { return at ? number(*at) : std::string("-"); };
  for (const results::BudgetAnswer& answer : answers) {
    const std::string& budget = answer.budget;
    for (const results::Contender& one : answer.contenders) {
      table.rows.push_back({one.label, budget, fmt::format("{:.1f}", one.held), fmt::format("{:.1f}", answer.slots),
                            number(one.value.mean), number(one.behind.mean), end(one.behind.low), end(one.behind.high),
                            std::to_string(answer.prompts)});
    }
    for (const results::LeftOut& one : answer.left_out) {
      table.rows.push_back({one.label, budget, fmt::format("{:.1f}", one.held), "-", "-", "-", "-", "-",
                            std::to_string(answer.prompts)});
    }
  }
  return table;
}

Sentences pattern_findings(const ResultTables& tables) {
  Sentences sentences;
  if (const Table* const tasks = find_table(tables, "tasks")) {
    const TaskValues values(*tasks);
    const auto& dispersion = values.at("dispersion_normalized", kAllTasks);
    const auto& shift = values.at("shift_normalized", kAllTasks);
    if (!dispersion.empty() && !shift.empty()) {
      sentences.push_back(
          fmt::format("Attention is most dispersed in {} (CAKE's H, normalised) and shifts most from query to query in "
                      "{} (CAKE's V).",
                      layer_list(results::leading_layers(dispersion)), layer_list(results::leading_layers(shift))));
    }
    const auto& sinks = values.at("sink_mass", kAllTasks);
    if (!sinks.empty()) {
      const auto most = std::ranges::max_element(sinks, {}, [](const auto& entry) { return entry.second.mean; });
      sentences.push_back(fmt::format("The first positions draw at most {} % of a layer's attention, in layer {:g}.",
                                      percent(most->second.mean), most->first));
    }
  }
  const Table* const attention = find_table(tables, "attention");
  if (attention == nullptr) return sentences;
  const results::HeadKinds kinds = results::head_kinds(*attention);
  std::vector<std::string> counts;
  for (const auto& [name, count] : kinds.by_kind) counts.push_back(fmt::format("{} {}", count, name));
  if (!counts.empty()) {
    sentences.push_back(fmt::format("Of {} heads, by rule of thumb: {}.", kinds.heads, fmt::join(counts, ", ")));
  }
  return sentences;
}

Sentences task_findings(const ResultTables& tables) {
  constexpr Preference kPreferences[] = {
      {"preference_share", "CAKE would give most to", "of the budget would move to other layers"},
      {"retained_share",
       "Of the most attended positions of all layers together (DynamicKV's retained share), most lie in",
       "lie in other layers"}};
  Sentences sentences;
  const Table* const tasks = find_table(tables, "tasks");
  if (tasks == nullptr) return sentences;
  const TaskValues values(*tasks);
  for (const Preference& preference : kPreferences) {
    if (auto text = preference_sentence(values, preference)) sentences.push_back(std::move(*text));
  }
  return sentences;
}

SmallTable budget_findings(const ResultTables& tables) {
  const Table* const budgets = filled_table(tables, "budgets");
  if (budgets == nullptr) return {};
  const std::string budget = results::middle_budget(*budgets);
  SmallTable table{
      .caption = fmt::format("How policies divide a budget of {} over the layers: shares relative to an even "
                             "split, means over prompts; moved: between the two tasks that differ most",
                             budget),
      .columns = {"policy", "most to layer", "times even", "least to layer", "times even", "moved between tasks, %"}};
  const auto divisions = results::budget_divisions(*budgets, find_table(tables, "replay"), budget);
  for (const auto& [label, division] : in_legend_order(*budgets, divisions)) {
    table.rows.push_back({label, std::to_string(division.most_layer), fmt::format("{:.2f}", division.most),
                          std::to_string(division.least_layer), fmt::format("{:.2f}", division.least),
                          division.shift ? percent(division.shift->distance, 1) : "-"});
  }
  return table;
}

SmallTable needle_findings(const ResultTables& tables) {
  const Table* const spans = filled_table(tables, "spans");
  if (spans == nullptr) return {};
  const Table* const replay = filled_table(tables, "replay");
  const std::string budget = results::middle_budget(*spans);
  SmallTable table{
      .caption =
          fmt::format("Needle positions kept at a budget of {}, percent, mean over prompts, layers and kept sets, "
                      "with equally many slots held; -: not compared, for no budgets of the policy are about "
                      "what the others hold",
                      budget),
      .columns = {"policy", "kept, %", "first third", "middle third", "last third", "worst layer", "kept there, %"}};
  for (const auto& [label, kept] : in_legend_order(*spans, results::needles_kept(*spans, replay, budget))) {
    if (!kept.compared) {
      table.rows.push_back({label, "-", "-", "-", "-", "-", "-"});
      continue;
    }
    std::vector<std::string> row{label, percent(kept.all)};
    for (const auto& third : kept.thirds) row.push_back(third ? percent(*third) : "-");
    row.push_back(kept.worst_layer.value_or("-"));
    row.push_back(kept.worst_layer ? percent(kept.in_worst_layer) : "-");
    table.rows.push_back(std::move(row));
  }
  return table.rows.empty() ? SmallTable{} : table;
}

Sentences sensitivity_findings(const ResultTables& tables) {
  const Table* const summary = filled_table(tables, "sensitivity_summary");
  if (summary == nullptr) return {};
  const std::string budget = results::middle_budget(*summary);
  const std::string offline = results::offline_sensitivity(*summary);
  Sentences sentences;
  for (const Series& series : series_of(*summary)) {
    std::map<std::string, std::vector<std::pair<double, int>>> costs;  // by measure: cost and layer
    for (const results::RowView row : results::RowsOf(*summary)) {
      if (row.policy() != series.key || row.budget() != budget || row.text("task") != kAllTasks ||
          row.text("head") != results::kAllHeads) {
        continue;
      }
      for (const std::string& measure : {std::string(results::kLiveKl), offline}) {
        if (const auto cost = row.number(measure)) {
          costs[measure].emplace_back(*cost, static_cast<int>(row.index("layer").value_or(0)));
        }
      }
    }
    const bool live = costs.contains(std::string(results::kLiveKl));
    auto& ranked = costs[live ? std::string(results::kLiveKl) : offline];
    std::ranges::sort(ranked, std::ranges::greater{});
    constexpr std::size_t kNamed = 3;
    if (ranked.size() <= kNamed) continue;
    double all = 0;
    double named = 0;
    std::vector<int> layers;
    for (std::size_t i = 0; i < ranked.size(); ++i) {
      all += ranked[i].first;
      if (i >= kNamed) continue;
      named += ranked[i].first;
      layers.push_back(ranked[i].second);
    }
    if (all <= 0) continue;
    sentences.push_back(fmt::format(
        "Evicting in one layer only ({} at {}) costs most in {}: {} % of the {} that all {} layers cost one by one.",
        series.label, budget, layer_list(layers), percent(named / all), live ? "KL divergence" : "error of the outputs",
        ranked.size()));
  }
  return sentences;
}

SmallTable sensitivity_orders(const ResultTables& tables) {
  const Table* const agreement = filled_table(tables, "sensitivity_agreement");
  if (agreement == nullptr) return {};
  const std::string budget = results::middle_budget(*agreement);
  SmallTable table{.columns = {"quantity", "policy", "tau-b", "low", "high", "ceiling"}, .text_columns = 2};
  std::string target;
  for (const results::RowView row : results::RowsOf(*agreement)) {
    if (row.budget() != budget || row.text("sites") != "layers") continue;
    if (target.empty()) target = row.text("target");
    if (row.text("target") != target) continue;
    const auto cell = [&row](const char* column) {
      const auto value = row.number(column);
      return value ? fmt::format("{:.2f}", *value) : std::string("-");
    };
    table.rows.push_back({row.text("quantity"), row.text("policy"), cell("tau_b"), cell("tau_b_low"),
                          cell("tau_b_high"), cell("ceiling")});
  }
  table.caption = fmt::format(
      "How measures, published rules and attention masses order the layers as {} does when one layer alone is evicted, "
      "at {}: Kendall's tau-b (1: the same order), 95 % intervals over prompts; ceiling: halves of the prompts",
      target == results::kLiveKl ? "the running model's KL divergence" : "the error of its output", budget);
  return table.rows.empty() ? SmallTable{} : table;
}

SmallTable calibration_findings(const ResultTables& tables) {
  const Table* const calibration = find_table(tables, "calibration");
  if (calibration == nullptr) return {};
  SmallTable table{.caption =
                       "How replay's measures order policies as the running model's divergence from its full cache "
                       "does: Kendall's tau-b, mean over budgets (1: the same order). Methods alone, with equally many "
                       "slots held: controls and ceilings are left out",
                   .columns = {"measure", "same prompts", "low", "high", "other documents", "ceiling of these"}};
  for (const results::RowView& row : results::overall_rows(*calibration)) {
    const auto cell = [&row](const char* column) {
      const auto value = row.number(column);
      return value ? fmt::format("{:.2f}", *value) : std::string("-");
    };
    table.rows.push_back(
        {row.text("measure"), cell("tau_b"), cell("tau_b_low"), cell("tau_b_high"), cell("transfer"), cell("ceiling")});
  }
  return table.rows.empty() ? SmallTable{} : table;
}

}  // namespace evictlab::plots
