#include "results/sensitivity.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>

#include "core/random.hpp"
#include "results/measures.hpp"
#include "results/rank_correlation.hpp"
#include "results/rows.hpp"
#include "results/run_table.hpp"
#include "results/schema.hpp"
#include "results/task_values.hpp"

namespace evictlab::results {
namespace {

constexpr int kPromptHalvings = 100;

/// A layer, and a kv head of it; -1: all heads.
struct Site {
  std::int64_t layer = 0;
  std::int64_t head = -1;
  friend auto operator<=>(const Site&, const Site&) = default;
};

/// A policy at a budget.
struct SensitivityRun {
  PolicyKey key;
  Role role;
  Cell budget;
};

struct SiteRow {
  std::size_t row;
  std::string prompt;
  std::string task;
  Site site;
};

/// The rows of each policy at each budget, in the order of the table.
struct RunRows {
  SensitivityRun run;
  std::vector<SiteRow> rows;
};

std::vector<RunRows> rows_by_run(const Table& table) {
  const RunColumns columns(table);
  const std::size_t budget = table.column(kBudgetColumn);
  const std::size_t head = table.column("head");
  std::vector<RunRows> runs;
  std::map<std::pair<PolicyKey, std::string>, std::size_t> places;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    const RowView view(table, r);
    const PolicyKey key = columns.key(r);
    const auto [place, is_new] = places.emplace(std::pair{key, table.text(r, budget)}, runs.size());
    if (is_new) runs.push_back({{key, columns.role(r), table.row(r)[budget]}, {}});
    Site site{.layer = static_cast<std::int64_t>(view.index("layer").value_or(0))};
    if (table.text(r, head) != kAllHeads) site.head = static_cast<std::int64_t>(view.index("head").value_or(0));
    runs[place->second].rows.push_back({r, view.prompt(), view.text("task"), site});
  }
  return runs;
}

Row& set_site(Row& row, const Site& site) {
  row.set("layer", site.layer);
  return site.head < 0 ? row.set("head", kAllHeads) : row.set("head", site.head);
}

/// The columns of numbers, from the first measure to the last attention mass.
std::vector<std::string> quantities(const Table& sensitivity) {
  std::vector<std::string> names;
  for (const std::string& column : sensitivity.columns()) {
    const bool is_rule = std::ranges::find(layer_rules(), column, &LayerRule::column) != layer_rules().end();
    const bool is_mass = column == "sink_mass" || column == "recent_mass" || column == "heavy_mass";
    const bool is_live = column == kLiveKl || column == "nll_increase" || column == "top1_agreement";
    if (measure_of(column) || is_live || is_rule || is_mass) names.push_back(column);
  }
  return names;
}

/// Values of one quantity at the sites, of the prompts that have one at each: [prompts][sites], larger is worse.
using PromptValues = std::map<std::string, std::vector<double>>;

PromptValues values_at(const Table& table, const std::vector<SiteRow>& rows, const std::vector<Site>& sites,
                       const std::string& quantity) {
  const std::size_t column = table.column(quantity);
  const auto measure = measure_of(quantity);
  std::map<std::string, std::map<Site, double>> found;
  for (const SiteRow& row : rows) {
    const auto value = table.number(row.row, column);
    if (!value || !std::ranges::binary_search(sites, row.site)) continue;
    found[row.prompt][row.site] = measure ? as_loss(*measure, *value) : *value;
  }
  PromptValues values;
  for (const auto& [prompt, by_site] : found) {
    if (by_site.size() != sites.size()) continue;
    std::vector<double>& own = values[prompt];
    for (const auto& [site, value] : by_site) own.push_back(value);
  }
  return values;
}

/// Two quantities at the sites, on the prompts that have both.
struct PairedValues {
  std::vector<std::vector<double>> a, b;  // [prompts][sites]
};

PairedValues paired_values(const PromptValues& a, const PromptValues& b) {
  PairedValues both;
  for (const auto& [prompt, values] : a) {
    const auto other = b.find(prompt);
    if (other == b.end()) continue;
    both.a.push_back(values);
    both.b.push_back(other->second);
  }
  return both;
}

std::vector<double> mean_over_prompts(const std::vector<std::vector<double>>& values,
                                      const std::vector<std::size_t>& prompts) {
  std::vector<double> mean(values.front().size(), 0.0);
  for (const std::size_t prompt : prompts) {
    for (std::size_t site = 0; site < mean.size(); ++site) mean[site] += values[prompt][site];
  }
  for (double& value : mean) value /= static_cast<double>(prompts.size());
  return mean;
}

std::vector<std::size_t> all_prompts(std::size_t count) {
  std::vector<std::size_t> all(count);
  std::iota(all.begin(), all.end(), std::size_t{0});
  return all;
}

/// A rank correlation of means over prompts; its interval is over draws of the prompts.
template <typename Correlation>
Interval correlation_of_means(const PairedValues& values, const Correlation& correlation,
                              const BootstrapOptions& options) {
  const std::size_t count = values.a.size();
  const auto of = [&](const std::vector<std::size_t>& prompts) {
    return correlation(mean_over_prompts(values.a, prompts), mean_over_prompts(values.b, prompts));
  };
  Interval interval{.mean = of(all_prompts(count))};
  if (count < 2) return interval;
  core::SplitMix64 random(options.seed);
  std::vector<double> drawn;
  std::vector<std::size_t> draw(count);
  for (std::size_t resample = 0; resample < options.resamples; ++resample) {
    for (std::size_t& prompt : draw) prompt = static_cast<std::size_t>(random.uniform() * static_cast<double>(count));
    drawn.push_back(of(draw));
  }
  interval.low = quantile(drawn, (1 - options.confidence) / 2);
  interval.high = quantile(drawn, (1 + options.confidence) / 2);
  return interval;
}

/// Tau-b of one half of the prompts with the other, mean over random halvings; none with fewer than two prompts.
std::optional<double> halves_agreement(const PromptValues& values, std::uint64_t seed) {
  if (values.size() < 2) return std::nullopt;
  std::vector<std::vector<double>> rows;
  for (const auto& [prompt, own] : values) rows.push_back(own);
  core::SplitMix64 random(seed);
  std::vector<std::size_t> order = all_prompts(rows.size());
  double sum = 0.0;
  for (int halving = 0; halving < kPromptHalvings; ++halving) {
    shuffle(order, random);
    const auto middle = order.begin() + static_cast<std::ptrdiff_t>(order.size() / 2);
    sum +=
        kendall_tau_b(mean_over_prompts(rows, {order.begin(), middle}), mean_over_prompts(rows, {middle, order.end()}));
  }
  return sum / kPromptHalvings;
}

Interval mean_prompt_tau(const PairedValues& values, const BootstrapOptions& options) {
  std::vector<double> taus;
  for (std::size_t prompt = 0; prompt < values.a.size(); ++prompt) {
    taus.push_back(kendall_tau_b(values.a[prompt], values.b[prompt]));
  }
  return bootstrap_mean(taus, options);
}

/// The sites of one kind, ascending.
std::vector<Site> sites_of(const std::vector<SiteRow>& rows, bool heads) {
  std::vector<Site> sites;
  for (const SiteRow& row : rows) {
    if ((row.site.head >= 0) == heads) sites.push_back(row.site);
  }
  std::ranges::sort(sites);
  const auto repeated = std::ranges::unique(sites);
  sites.erase(repeated.begin(), repeated.end());
  return sites;
}

void add_agreement(const Table& sensitivity, const RunRows& run, bool heads, const BootstrapOptions& options,
                   Table& agreement) {
  const std::vector<Site> sites = sites_of(run.rows, heads);
  if (sites.size() < 2) return;
  for (const std::string& target : {std::string(kLiveKl), offline_sensitivity(sensitivity)}) {
    const PromptValues wanted = values_at(sensitivity, run.rows, sites, target);
    if (wanted.empty()) continue;
    const auto ceiling = halves_agreement(wanted, options.seed);
    for (const std::string& quantity : quantities(sensitivity)) {
      const bool is_live = quantity == kLiveKl || quantity == "nll_increase" || quantity == "top1_agreement";
      if (quantity == target || is_live) continue;
      const PairedValues values = paired_values(values_at(sensitivity, run.rows, sites, quantity), wanted);
      if (values.a.empty()) continue;
      Row row(agreement);
      set_run(row, run.run.key, run.run.role, run.run.budget)
          .set("sites", heads ? "heads" : "layers")
          .set("target", target)
          .set("quantity", quantity)
          .set("prompts", values.a.size())
          .set("ceiling", ceiling);
      const auto tau = [](const auto& a, const auto& b) { return kendall_tau_b(a, b); };
      const auto rho = [](const auto& a, const auto& b) { return spearman_of_values(a, b); };
      set_interval(row, "tau_b", correlation_of_means(values, tau, options));
      set_interval(row, "spearman", correlation_of_means(values, rho, options));
      set_interval(row, "prompt_tau_b", mean_prompt_tau(values, options));
      agreement.add_row(std::move(row));
    }
  }
}

}  // namespace

const std::vector<LayerRule>& layer_rules() {
  static const std::vector<LayerRule> rules = {{"preference_share", "CAKE's preference"},
                                               {"retained_share", "DynamicKV's retained share"},
                                               {"cake_share", "CAKE's budget"},
                                               {"dynamickv_share", "DynamicKV's budget"},
                                               {"pyramidkv_share", "PyramidKV's budget"}};
  return rules;
}

std::string offline_sensitivity(const Table& table) {
  std::string relative(info(Measure::kRelativeSquaredError).column);
  const std::size_t column = table.column(relative);
  for (std::size_t row = 0; row < table.rows(); ++row) {
    if (table.number(row, column)) return relative;
  }
  return std::string(info(Measure::kSquaredError).column);
}

Table sensitivity_summary(const Table& sensitivity) {
  Table summary = new_table("sensitivity_summary");
  for (const RunRows& run : rows_by_run(sensitivity)) {
    std::map<std::pair<std::string, Site>, std::vector<std::size_t>> groups;
    for (const SiteRow& row : run.rows) {
      groups[{std::string(kAllTasks), row.site}].push_back(row.row);
      groups[{row.task, row.site}].push_back(row.row);
    }
    for (const auto& [group, rows] : groups) {
      Row row(summary);
      set_run(row, run.run.key, run.run.role, run.run.budget).set("task", group.first).set("prompts", rows.size());
      set_site(row, group.second);
      for (const std::string& quantity : quantities(sensitivity)) {
        const std::size_t column = sensitivity.column(quantity);
        std::vector<double> values;
        for (const std::size_t r : rows) {
          if (const auto value = sensitivity.number(r, column)) values.push_back(*value);
        }
        if (values.empty() || !summary.find_column(quantity)) continue;
        const bool has_interval = summary.find_column(quantity + "_low").has_value();
        if (has_interval) {
          set_interval(row, quantity, bootstrap_mean(values));
        } else {
          row.set(quantity, mean(values));
        }
      }
      summary.add_row(std::move(row));
    }
  }
  return summary;
}

Table sensitivity_agreement(const Table& sensitivity, const BootstrapOptions& options) {
  Table agreement = new_table("sensitivity_agreement");
  for (const RunRows& run : rows_by_run(sensitivity)) {
    for (const bool heads : {false, true}) add_agreement(sensitivity, run, heads, options, agreement);
  }
  return agreement;
}

}  // namespace evictlab::results
