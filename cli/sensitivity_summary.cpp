#include "cli/sensitivity_summary.hpp"

#include <fmt/format.h>

#include <string_view>

#include "cli/number_text.hpp"
#include "results/rows.hpp"
#include "results/sensitivity.hpp"
#include "results/task_values.hpp"

namespace evictlab::cli {
namespace {

struct SiteColumn {
  const char* column;
  const char* head;
  const char* format;
};
constexpr SiteColumn kSiteColumns[] = {{"kl", "KL", "{:.2e}"},
                                       {"kl_low", "low", "{:.2e}"},
                                       {"kl_high", "high", "{:.2e}"},
                                       {"squared_error", "sq. error", "{:.3g}"},
                                       {"preference_share", "CAKE's preference", "{:.3f}"},
                                       {"retained_share", "DynamicKV's share", "{:.3f}"},
                                       {"pyramidkv_share", "PyramidKV's budget", "{:.3f}"}};

std::string run_label(const results::RowView& row) { return fmt::format("{} at {}", row.text("policy"), row.budget()); }

std::string layer_table(const results::Table& summary) {
  std::string text;
  std::string run;
  for (const results::RowView row : results::RowsOf(summary)) {
    if (row.text("task") != results::kAllTasks || row.text("head") != results::kAllHeads) continue;
    if (run_label(row) != run) {
      run = run_label(row);
      text += fmt::format("\nWhat it costs to evict in one layer only, {}, mean over {} prompts\n\n{:>7}", run,
                          row.text("prompts"), "layer");
      for (const SiteColumn& column : kSiteColumns) text += fmt::format("{:>20}", column.head);
      text += '\n';
    }
    text += fmt::format("{:>7}", row.text("layer"));
    for (const SiteColumn& column : kSiteColumns) {
      text += fmt::format("{:>20}", number_text(row.number(column.column), column.format));
    }
    text += '\n';
  }
  return text;
}

}  // namespace

std::string sensitivity_summary(const lab::SensitivityTables& tables) {
  std::string text = layer_table(tables.summary);
  std::string heading;
  for (const results::RowView row : results::RowsOf(tables.agreement)) {
    const std::string own = fmt::format("{}, {} by {}", run_label(row), row.text("sites"), row.text("target"));
    if (own != heading) {
      heading = own;
      text += fmt::format(
          "\nWhich quantities put {} in the same order, Kendall's tau-b (1: the same; halves of the prompts agree by "
          "{})\n\n  {:<30}{:>8}{:>18}\n",
          heading, number_text(row.number("ceiling"), "{:.2f}"), "quantity", "tau-b", "95 % interval");
    }
    text += fmt::format("  {:<30}{:>8}{:>18}\n", row.text("quantity"), number_text(row.number("tau_b"), "{:.2f}"),
                        fmt::format("{} .. {}", number_text(row.number("tau_b_low"), "{:.2f}"),
                                    number_text(row.number("tau_b_high"), "{:.2f}")));
  }
  return text;
}

}  // namespace evictlab::cli
