#include "cli/validate_summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "cli/number_text.hpp"
#include "results/labels.hpp"
#include "results/role.hpp"
#include "results/rows.hpp"
#include "results/task_values.hpp"

namespace evictlab::cli {
namespace {

using results::Table;

std::string text_of(const Table& table, std::size_t row, const char* column) {
  return table.text(row, table.column(column));
}

/// What is shown of a policy at a budget.
struct Line {
  std::string policy;
  std::optional<double> kl;  // with equally many slots; none: not compared
  bool is_ceiling = false;
  std::map<std::string, std::string> cells;  // by quantity
};

constexpr std::pair<const char*, const char*> kShown[] = {{"kl", "{:.4f}"},         {"nll", "{:.3f}"},
                                                          {"accuracy", "{:.3f}"},   {"accuracy_after_first", "{:.3f}"},
                                                          {"slots_held", "{:.1f}"}, {"decode_ms", "{:.2f}"}};

}  // namespace

std::string validate_summary(const Table& outcomes) {
  const std::vector<std::string> labels = results::row_labels(outcomes);
  std::vector<std::string> budgets;
  std::map<std::string, std::vector<Line>> lines;  // by budget
  std::string prompts = "0";
  for (std::size_t row = 0; row < outcomes.rows(); ++row) {
    if (text_of(outcomes, row, "task") != "all" || text_of(outcomes, row, "turn") != "1") continue;
    const std::string budget = results::RowView(outcomes, row).budget();
    if (!lines.contains(budget)) budgets.push_back(budget);
    std::vector<Line>& own = lines[budget];
    auto line = std::ranges::find(own, labels[row], &Line::policy);
    if (line == own.end()) line = own.insert(own.end(), {labels[row], std::nullopt, false, {}});
    const std::string quantity = text_of(outcomes, row, "quantity");
    for (const auto& [name, format] : kShown) {
      if (quantity == name) line->cells[name] = interval_text(outcomes, row, "mean", "low", "high", format);
    }
    if (quantity != "kl") continue;
    line->kl = outcomes.number(row, outcomes.column("mean_compared"));
    line->is_ceiling = text_of(outcomes, row, "role") == results::role_name(results::Role::kCeiling);
    prompts = text_of(outcomes, row, "prompts");
  }
  std::string text = fmt::format(
      "What the model does with its cache compacted: {}; kl and nll in nats, from\n"
      "the second answer token on\n",
      prompts == "1" ? std::string("one prompt") : fmt::format("means over {} prompts with 95 % intervals", prompts));
  bool other_slots = false;
  for (const std::string& budget : budgets) {
    // The full cache loses nothing; last come those that hold other slots.
    std::ranges::stable_sort(lines[budget], {}, [](const Line& line) {
      return line.kl.value_or(line.is_ceiling ? -1.0 : std::numeric_limits<double>::infinity());
    });
    text += fmt::format("\n  budget {}\n  {:<20}{:>26}{:>24}{:>24}{:>24}{:>8}{:>8}\n", budget, "policy", "kl", "nll",
                        "accuracy", "after first token", "slots", "ms");
    for (Line& line : lines[budget]) {
      const auto cell = [&](const char* name) {
        return line.cells.contains(name) ? line.cells[name] : std::string("-");
      };
      const auto plain = [&](const char* name) { return cell(name).substr(0, cell(name).find(' ')); };
      text += fmt::format("  {:<20}{:>26}{:>24}{:>24}{:>24}{:>8}{:>8}\n", line.policy, cell("kl"), cell("nll"),
                          cell("accuracy"), cell("accuracy_after_first"), plain("slots_held"), plain("decode_ms"));
      if (!line.kl && !line.is_ceiling) other_slots = true;
    }
  }
  text += other_slots
              ? "\n  in order of kl with equally many slots; last, not compared: policies that hold others and have "
                "no budgets about them\n"
              : "";
  return text;
}

std::string calibration_summary(const results::Calibration& calibration) {
  const Table& measures = calibration.measures;
  std::string text =
      "\nHow replay's measures order policies, against their KL: Kendall's tau-b, mean over budgets; methods alone, "
      "with "
      "equally\nmany slots held (controls and ceilings are left out)\n\n";
  text += fmt::format("  {:<30}{:>22}{:>22}  {}\n", "measure", "same prompts", "other documents", "");
  std::string ceiling = "-";
  std::string status;
  double left_out = 0.0;
  for (std::size_t row = 0; row < measures.rows(); ++row) {
    left_out = std::max(left_out, measures.number(row, measures.column("left_out")).value_or(0.0));
  }
  for (const results::RowView& view : results::overall_rows(measures)) {
    const std::size_t row = view.row();
    const std::string own = text_of(measures, row, "status");
    ceiling = interval_text(measures, row, "ceiling", "{:.2f}");
    if (own != "ok" && !own.starts_with("not measured")) status = own;
    if (!measures.number(row, measures.column("tau_b"))) continue;
    text +=
        fmt::format("  {:<30}{:>22}{:>22}  {}\n", text_of(measures, row, "measure"),
                    interval_text(measures, row, "tau_b", "{:.2f}"), interval_text(measures, row, "transfer", "{:.2f}"),
                    text_of(measures, row, "chosen") == "yes" ? "maps to KL" : "");
  }
  text += fmt::format("\n  ceiling of other documents, the live order of half of them with the other half's: {}\n",
                      ceiling);
  if (!status.empty()) text += fmt::format("  {}\n", status);
  if (left_out > 0) {
    text += fmt::format(
        "  left out: up to {:.0f} of the methods at a budget, for no budgets of theirs are about what the "
        "others hold\n",
        left_out);
  }
  if (const auto& learned = calibration.learned; learned && learned->median_factor) {
    text += fmt::format(
        "  foretold means over documents that the map did not see miss the live ones by a factor of {:.2f} (median), "
        "{:.2f} (nine of ten){}: calibration.json, for replay --calibration\n",
        *learned->median_factor, *learned->nine_of_ten_factor,
        learned->coverage ? fmt::format("; {:.0f} % lie in their 90 % interval", 100.0 * *learned->coverage)
                          : std::string());
  }
  if (const auto& learned = calibration.learned; learned && learned->decoding) {
    text += fmt::format("  policies that evict while decoding have a map of their own, of {} documents\n",
                        learned->decoding->documents);
  }
  if (calibration.disagreements.rows() > 0) {
    const Table& pairs = calibration.disagreements;
    const auto name = [&](const char* column) {
      const std::string label = text_of(pairs, 0, column);
      return label.substr(0, label.find('('));
    };
    text += fmt::format(
        "  pairs in the wrong order: {} (disagreements.csv); by most: {} is predicted better than {} at {}\n",
        pairs.rows(), name("predicted_better"), name("better"), results::RowView(pairs, 0).budget());
  }
  return text;
}

}  // namespace evictlab::cli
