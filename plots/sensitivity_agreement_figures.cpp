#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/series.hpp"
#include "results/measures.hpp"
#include "results/rows.hpp"
#include "results/sensitivity.hpp"

namespace evictlab::plots {
namespace {

using results::RowView;

/// What orders the sites: replay's measures, published rules, or attention masses.
enum class QuantityKind { kMeasure, kRule, kPattern };

struct Quantity {
  QuantityKind kind = QuantityKind::kPattern;
  std::string label;
};

Quantity quantity_of(std::string name) {
  if (const auto measure = results::measure_of(name)) {
    return {QuantityKind::kMeasure, std::string(results::info(*measure).label)};
  }
  const auto rule = std::ranges::find(results::layer_rules(), name, &results::LayerRule::column);
  if (rule != results::layer_rules().end()) return {QuantityKind::kRule, std::string(rule->label)};
  std::ranges::replace(name, '_', ' ');
  return {QuantityKind::kPattern, name};
}

constexpr std::pair<QuantityKind, const char*> kKinds[] = {{QuantityKind::kMeasure, "offline measures"},
                                                           {QuantityKind::kRule, "published rules"},
                                                           {QuantityKind::kPattern, "attention patterns"}};

Style kind_style(QuantityKind kind) {
  switch (kind) {
    case QuantityKind::kMeasure:
      return {"#0072B2", 7, "solid", 2.0};
    case QuantityKind::kRule:
      return {"#D55E00", 5, "solid", 2.0};
    case QuantityKind::kPattern:
      break;
  }
  return {"#666666", 9, "solid", 2.0};
}

/// The rows of one policy, budget and target.
struct AgreementRows {
  std::string label;
  std::string target;
  std::vector<RowView> layers;
  std::vector<RowView> heads;
};

/// Those of the first policy of the table at its middle budget, by live KL where it was measured.
AgreementRows agreement_rows(const results::Table& table) {
  AgreementRows rows;
  if (table.rows() == 0) return rows;
  const std::string budget = results::middle_budget(table);
  std::optional<results::PolicyKey> policy;
  for (const RowView row : results::RowsOf(table)) {
    if (row.budget() != budget || (policy && row.policy() != *policy)) continue;
    policy = row.policy();
    const std::string target = row.text("target");
    if (rows.target.empty()) rows.target = target;
    if (target == rows.target) (row.text("sites") == "layers" ? rows.layers : rows.heads).push_back(row);
  }
  if (policy) rows.label = fmt::format("{} at {}", policy->policy, budget);
  return rows;
}

void add_agreement_panel(const std::vector<RowView>& rows, const char* title, Canvas& canvas) {
  const auto ceiling = rows.front().number("ceiling");
  std::string tics;
  std::vector<std::string> plots;
  if (ceiling) {
    plots.push_back(fmt::format("{:.9g} with lines {} notitle", *ceiling, Style{"#666666", 0, "-", 2.0}.gnuplot()));
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const RowView& row = rows[i];
    const Quantity quantity = quantity_of(row.text("quantity"));
    tics += fmt::format("{}{} {}", i == 0 ? "" : ", ", gnuplot_tic(quantity.label), i);
    const std::string point = canvas.add_data(point_with_bar(
        static_cast<double>(i), {row.number("tau_b").value_or(0), row.number("tau_b_low"), row.number("tau_b_high")}));
    const Style style = kind_style(quantity.kind);
    plots.push_back(line_with_bars(point, style).front());
    plots.push_back(fmt::format("{} using 1:2 with points {} notitle", point, style.gnuplot()));
  }
  canvas.add_panel(title,
                   fmt::format("unset logscale\nset grid\nset border 3\nset xlabel ''\nset xrange [-0.6:{:.9g}]\n"
                               "set yrange [-1:1]\nset xtics rotate by -35 ({})\nset ytics auto\n"
                               "set format y '%g'\nset ylabel 'tau-b' offset 0.5,0 textcolor rgb '{}'\nplot ",
                               static_cast<double>(rows.size()) - 0.4, tics, kTextColor) +
                       joined(plots));
}

}  // namespace

/// Which quantities put layers, and kv heads, in the order of what evicting there costs ("sensitivity_agreement").
std::vector<Figure> sensitivity_agreement_figures(const results::Table& agreement) {
  const AgreementRows rows = agreement_rows(agreement);
  if (rows.layers.empty() && rows.heads.empty()) return {};
  const bool live = rows.target == results::kLiveKl;
  Canvas::Legend legend;
  for (const auto& [kind, label] : kKinds) legend.emplace_back(label, kind_style(kind));
  legend.emplace_back(live ? "live, half against half" : "half against half", Style{"#666666", 0, "-", 2.0});
  const std::size_t most = std::max(rows.layers.size(), rows.heads.size());
  const RowView& first = (rows.layers.empty() ? rows.heads : rows.layers).front();
  const auto prompts = static_cast<std::size_t>(first.index("prompts").value_or(0));
  Canvas canvas({.name = "sensitivity_agreement",
                 .title = "What puts layers and heads in the order of their sensitivity",
                 .caption = fmt::format("Kendall's tau-b with {}; {}, {}",
                                        live ? "live KL" : "the " + quantity_of(rows.target).label, rows.label,
                                        mean_over(prompts, true)),
                 .panels = (rows.layers.empty() ? 0 : 1) + (rows.heads.empty() ? 0 : 1),
                 .columns = 1,
                 .panel_width = 48 * std::max(static_cast<int>(most), 10),
                 .panel_height = 260,
                 .below = 170,
                 .legend = legend});
  if (!rows.layers.empty()) add_agreement_panel(rows.layers, "Layers", canvas);
  if (!rows.heads.empty()) add_agreement_panel(rows.heads, "kv heads of all layers", canvas);
  canvas.add_legend();
  return {canvas.finish()};
}

}  // namespace evictlab::plots
