#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/maps.hpp"
#include "plots/series.hpp"
#include "results/measures.hpp"
#include "results/rank_correlation.hpp"
#include "results/rows.hpp"
#include "results/sensitivity.hpp"
#include "results/task_values.hpp"

namespace evictlab::plots {
namespace {

using results::RowView;
using results::Table;

/// A column of sensitivity_summary.csv over the layers.
using OverLayers = std::map<double, results::Interval>;

/// The rows of one policy at one budget, over all tasks.
struct SiteRows {
  results::PolicyKey policy;
  std::string budget;
  std::vector<RowView> layers = {};  // all kv heads of a layer evicted
  std::vector<RowView> heads = {};   // one
  std::size_t prompts = 0;

  std::string label() const { return fmt::format("{} at {}", policy.policy, budget); }
  /// "sensitivity" for the first of several.
  static std::string name(const char* figure, std::size_t number) {
    return number == 0 ? std::string(figure) : fmt::format("{}_{}", figure, number + 1);
  }
};

/// Of each policy, in the order of the table, at the middle budget.
std::vector<SiteRows> site_rows(const Table& summary) {
  std::vector<SiteRows> runs;
  if (summary.rows() == 0) return runs;
  const std::string budget = results::middle_budget(summary);
  for (const RowView row : results::RowsOf(summary)) {
    if (row.text("task") != results::kAllTasks || row.budget() != budget) continue;
    auto found = std::ranges::find(runs, row.policy(), &SiteRows::policy);
    if (found == runs.end()) found = runs.insert(found, {.policy = row.policy(), .budget = budget});
    (row.text("head") == results::kAllHeads ? found->layers : found->heads).push_back(row);
    found->prompts = std::max(found->prompts, static_cast<std::size_t>(row.index("prompts").value_or(0)));
  }
  return runs;
}

OverLayers over_layers(const std::vector<RowView>& rows, const std::string& column, bool interval) {
  OverLayers values;
  for (const RowView& row : rows) {
    const auto mean = row.number(column);
    if (!mean) continue;
    results::Interval& value = values[row.index("layer").value_or(0)];
    value.mean = *mean;
    if (!interval) continue;
    value.low = row.number(column + "_low");
    value.high = row.number(column + "_high");
  }
  return values;
}

/// Tau-b of two columns over the layers that both have; none for fewer than two layers.
std::optional<double> tau_of(const OverLayers& a, const OverLayers& b) {
  std::vector<double> first;
  std::vector<double> second;
  for (const auto& [layer, value] : a) {
    const auto other = b.find(layer);
    if (other == b.end()) continue;
    first.push_back(value.mean);
    second.push_back(other->second.mean);
  }
  if (first.size() < 2) return std::nullopt;
  return results::kendall_tau_b(first, second);
}

std::string tau_text(const std::optional<double>& tau) { return tau ? fmt::format("{:.2f}", *tau) : "-"; }

double deepest_layer(const std::vector<RowView>& rows) {
  double last = 0;
  for (const RowView& row : rows) last = std::max(last, row.index("layer").value_or(0));
  return last;
}

/// A value that a logarithmic axis cannot show is drawn at a tenth of the smallest that it can.
double least_shown(const OverLayers& values) {
  double least = 1;
  for (const auto& [layer, value] : values) {
    if (value.mean > 0) least = std::min(least, value.mean);
    if (value.low && *value.low > 0) least = std::min(least, *value.low);
  }
  return least / 10;
}

std::string site_axes(double last, const char* label, bool logarithmic) {
  return fmt::format(
      "unset logscale\n{}set grid\nset border 3\nset xlabel 'layer' offset 0,0.3 textcolor rgb '{}'\n"
      "set ylabel {} offset 0.5,0 textcolor rgb '{}'\nset xrange [-0.4:{:.9g}]\nset yrange [{}]\n"
      "set xtics norotate 0,{}\nset ytics auto\nset format x '%.0f'\nset format y '%g'\n",
      logarithmic ? "set logscale y 10\n" : "", kTextColor, gnuplot_label(label), kTextColor, last + 0.4,
      logarithmic ? "*:*" : "0:*", tic_step(last));
}

std::string points_of(const OverLayers& values, double least, double times = 1) {
  std::string points;
  for (const auto& [layer, value] : values) {
    results::Interval shown = value;
    shown.mean *= times;
    points += point_with_bar(layer, shown, least);
  }
  return points;
}

/// How the published rules are drawn, in the order of results::layer_rules().
Style rule_style(std::size_t number) {
  static const std::vector<Style> styles = {{"#E69F00", 5, "solid", 2.2},
                                            {"#009E73", 9, "solid", 2.2},
                                            {"#E69F00", 4, "-", 2.2},
                                            {"#009E73", 8, "-", 2.2},
                                            {"#CC79A7", 13, "solid", 2.2}};
  return styles[number % styles.size()];
}

struct DrawnRule {
  OverLayers shares;
  std::string label;
  std::optional<double> tau;
  Style style;
};

std::vector<DrawnRule> drawn_rules(const std::vector<RowView>& rows, const OverLayers& sensitivity) {
  std::vector<DrawnRule> rules;
  for (std::size_t i = 0; i < results::layer_rules().size(); ++i) {
    const results::LayerRule& rule = results::layer_rules()[i];
    OverLayers shares = over_layers(rows, std::string(rule.column), false);
    if (shares.empty()) continue;
    const auto tau = tau_of(shares, sensitivity);
    rules.push_back({std::move(shares), fmt::format("{}: tau-b {}", rule.label, tau_text(tau)), tau, rule_style(i)});
  }
  return rules;
}

std::string label_of(const std::string& measure) {
  return std::string(results::info(results::measure_of(measure).value()).label);
}

/// "tau-b -0.12 to 0.30"
std::string tau_range(const std::vector<DrawnRule>& rules) {
  const auto [low, high] = std::ranges::minmax(rules, {}, [](const DrawnRule& rule) { return rule.tau.value_or(0); });
  return fmt::format("tau-b {} to {}", tau_text(low.tau), tau_text(high.tau));
}

Figure sensitivity_figure(const SiteRows& run, const std::string& measure, std::size_t number) {
  const OverLayers live = over_layers(run.layers, std::string(results::kLiveKl), true);
  const OverLayers offline = over_layers(run.layers, measure, true);
  const OverLayers& sensitivity = live.empty() ? offline : live;
  const std::vector<DrawnRule> rules = drawn_rules(run.layers, sensitivity);
  const std::string by = live.empty() ? label_of(measure) : "live KL";
  Canvas::Legend legend;
  for (const DrawnRule& rule : rules) legend.emplace_back(rule.label, rule.style);
  const double last = deepest_layer(run.layers);
  const int panels = (live.empty() ? 0 : 1) + (offline.empty() ? 0 : 1) + (rules.empty() ? 0 : 1);
  Canvas canvas(
      {.name = SiteRows::name("sensitivity", number),
       .title = rules.empty() ? "What it costs to evict in one layer"
                              : fmt::format("Do published rules see which layers are sensitive? {} with {}",
                                            tau_range(rules), by),
       .caption = fmt::format("{}, one layer evicted, all others full; {}", run.label(), mean_over(run.prompts, true)),
       .panels = panels,
       .columns = 1,
       .panel_width = 620,
       .panel_height = 210,
       .legend = legend});
  const auto add = [&](const OverLayers& values, const std::string& title, const char* label, const char* color) {
    if (values.empty()) return;
    const Style style = Style{color, 7, "solid", 2.4}.over(last + 1);
    canvas.add_panel(title, site_axes(last, label, true) + "plot " +
                                joined(line_with_bars(canvas.add_data(points_of(values, least_shown(values))), style)));
  };
  add(live, "Live: KL of the next-token distribution", "KL, nats", "#000000");
  add(offline,
      live.empty()
          ? fmt::format("Offline: {}", label_of(measure))
          : fmt::format("Offline: {}, tau-b {} with live KL", label_of(measure), tau_text(tau_of(offline, live))),
      "error", "#0072B2");
  if (!rules.empty()) {
    std::vector<std::string> plots;
    for (const DrawnRule& rule : rules) {
      const auto layers = static_cast<double>(rule.shares.size());
      plots.push_back(fmt::format("{} using 1:2 with linespoints {} notitle",
                                  canvas.add_data(points_of(rule.shares, 0, layers)),
                                  rule.style.over(layers).gnuplot()));
    }
    canvas.add_panel("Published rules: share of the budget, times an even split",
                     site_axes(last, "times even", false) + "plot " + joined(plots));
    canvas.add_legend();
  }
  return canvas.finish();
}

/// A column over layers and kv heads, relative to its mean over them; empty where it was not measured.
CellMap relative_map(const std::vector<RowView>& heads, const std::string& column) {
  double sum = 0;
  double count = 0;
  for (const RowView& row : heads) {
    if (const auto value = row.number(column)) {
      sum += *value;
      ++count;
    }
  }
  CellMap map;
  if (sum <= 0) return map;
  for (const RowView& row : heads) {
    if (const auto value = row.number(column)) {
      map.add(row.index("layer").value_or(0), row.index("head").value_or(0), *value * count / sum);
    }
  }
  return map;
}

std::optional<Figure> head_map_figure(const SiteRows& run, const std::string& offline, std::size_t number) {
  struct Measured {
    std::string title;
    CellMap map;
  };
  std::vector<Measured> measured;
  if (CellMap live = relative_map(run.heads, std::string(results::kLiveKl)); !live.empty()) {
    measured.push_back({"Live: KL", std::move(live)});
  }
  if (CellMap error = relative_map(run.heads, offline); !error.empty()) {
    measured.push_back({"Offline: " + label_of(offline), std::move(error)});
  }
  if (measured.empty()) return std::nullopt;
  const double kLimit = 6;  // powers of two
  const auto shown = [kLimit](double ratio) {
    return ratio > 0 ? std::clamp(std::log2(ratio), -kLimit, kLimit) : -kLimit;
  };
  const CellMap& first = measured.front().map;
  Canvas canvas({.name = SiteRows::name("head_sensitivity", number),
                 .title = "What it costs to evict in one kv head",
                 .caption = fmt::format("{}, one kv head evicted, all others full; {}; relative to the mean over heads",
                                        run.label(), mean_over(run.prompts, false)),
                 .panels = static_cast<int>(measured.size()),
                 .columns = 1,
                 .panel_width = std::max(420, map_size(first.last_x()) + 120),
                 .panel_height = std::max(150, map_size(first.last_y()) / 2),
                 .color_scale_width = 160});
  for (const Measured& one : measured) {
    canvas.add_panel(one.title, diverging_palette() + fmt::format("set cbrange [{}:{}]\n", -kLimit, kLimit) +
                                    map_panel(canvas.add_data(one.map.lines(shown)), layer_axis(first.last_x()),
                                              {"kv head", first.last_y()}));
  }
  canvas.add_color_scale("times the mean", -kLimit, kLimit, "('≤ 1/64' -6, '1/8' -3, '1' 0, '8' 3, '≥ 64' 6)");
  return canvas.finish();
}

}  // namespace

/// What evicting in each layer costs, live and offline, above what published rules give the layer ("sensitivity", and
/// "sensitivity_2", ... for further policies).
std::vector<Figure> sensitivity_figures(const Table& summary) {
  std::vector<Figure> figures;
  const std::string measure = results::offline_sensitivity(summary);
  for (const SiteRows& run : site_rows(summary)) {
    const bool measured = std::ranges::any_of(run.layers, [&](const RowView& row) {
      return row.number(results::kLiveKl).has_value() || row.number(measure).has_value();
    });
    if (measured) figures.push_back(sensitivity_figure(run, measure, figures.size()));
  }
  return figures;
}

/// Layers x kv heads: what evicting in each kv head costs ("head_sensitivity").
std::vector<Figure> head_sensitivity_figures(const Table& summary) {
  std::vector<Figure> figures;
  const std::string offline = results::offline_sensitivity(summary);
  for (const SiteRows& run : site_rows(summary)) {
    if (auto figure = head_map_figure(run, offline, figures.size())) figures.push_back(std::move(*figure));
  }
  return figures;
}

}  // namespace evictlab::plots
