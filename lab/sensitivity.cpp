#include "lab/sensitivity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>

#include "core/error.hpp"
#include "lab/policy_selection.hpp"
#include "results/rows.hpp"
#include "results/run_table.hpp"
#include "results/schema.hpp"
#include "results/sensitivity.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/replay.hpp"
#include "sim/replay/replay_rows.hpp"

namespace evictlab::lab {
namespace {

using results::RowView;
using trace::Index;

/// Published policies that give layers different counts, and the column of their share.
struct RulePolicy {
  const char* policy;
  const char* column;
};
constexpr RulePolicy kRules[] = {
    {"cake", "cake_share"}, {"dynamickv", "dynamickv_share"}, {"pyramidkv", "pyramidkv_share"}};

sim::Policy evicting_at(const sim::Policy& policy, const sim::EvictionSite& site) {
  return sim::make_policy(sim::parse_policy(
      policy.parameters.empty() ? fmt::format("{}({})", policy.name, site.text())
                                : fmt::format("{}({},{})", policy.name, policy.parameters, site.text())));
}

/// Mean over rows of a column.
class ColumnMean {
 public:
  void add(const std::optional<double>& value) {
    if (!value) return;
    sum_ += *value;
    ++count_;
  }
  std::optional<double> value() const {
    return count_ > 0 ? std::optional(sum_ / static_cast<double>(count_)) : std::nullopt;
  }

 private:
  double sum_ = 0.0;
  std::size_t count_ = 0;
};

/// What the tables of `analyze` say of the prompt's sites.
class SiteProfile {
 public:
  SiteProfile(const ProfileTables& profile, const trace::ModelInfo& model, const std::string& prompt) {
    const Index group = model.query_heads / model.kv_heads;
    for (const RowView row : results::RowsOf(profile.layers)) {
      if (row.prompt() != prompt) continue;
      const auto layer = static_cast<Index>(row.index("layer").value());
      for (const char* column : {"preference_share", "retained_share"})
        at_[{layer, -1, column}].add(row.number(column));
    }
    for (const RowView row : results::RowsOf(profile.attention)) {
      if (row.prompt() != prompt) continue;
      const auto layer = static_cast<Index>(row.index("layer").value());
      const auto head = static_cast<Index>(row.index("head").value()) / group;
      for (const char* column : {"sink_mass", "recent_mass", "heavy_mass"}) {
        at_[{layer, -1, column}].add(row.number(column));
        at_[{layer, head, column}].add(row.number(column));
      }
    }
  }

  void set(Index layer, Index head, results::Row& row) const {
    for (const char* column : {"preference_share", "retained_share", "sink_mass", "recent_mass", "heavy_mass"}) {
      const auto found = at_.find({layer, head, column});
      if (found != at_.end()) row.set(column, found->second.value());
    }
  }

 private:
  std::map<std::tuple<Index, Index, std::string>, ColumnMean> at_;
};

/// Finds the rows of a prompt's runs: by policy's parameters, budget and layer.
class RunRows {
 public:
  explicit RunRows(const results::Table& table) : table_(table) {
    const results::RunColumns columns(table);
    const std::size_t budget = table.column(results::kBudgetColumn);
    const auto layer = table.find_column("layer");
    const auto turn = table.find_column("turn");
    for (std::size_t row = 0; row < table.rows(); ++row) {
      if (turn && table.text(row, *turn) != "1") continue;
      rows_.emplace(std::tuple{columns.key(row), table.text(row, budget), layer ? table.text(row, *layer) : ""}, row);
    }
  }
  std::optional<RowView> find(const sim::Policy& policy, const std::string& budget, const std::string& layer) const {
    const auto found = rows_.find({{policy.name, policy.parameters}, budget, layer});
    return found == rows_.end() ? std::nullopt : std::optional(RowView(table_, found->second));
  }
  /// The full cache's, of which there is one a budget.
  std::optional<RowView> full(const std::string& budget) const {
    const auto found = rows_.find({{"full", ""}, budget, ""});
    return found == rows_.end() ? std::nullopt : std::optional(RowView(table_, found->second));
  }

 private:
  const results::Table& table_;
  std::map<std::tuple<results::PolicyKey, std::string, std::string>, std::size_t> rows_;
};

void set_live(const RowView& live, const std::optional<RowView>& full, results::Row& row) {
  row.set("kl", live.number("kl")).set("top1_agreement", live.number("top1_agreement"));
  const auto nll = live.number("nll");
  const auto full_nll = full ? full->number("nll") : std::nullopt;
  if (nll && full_nll) row.set("nll_increase", *nll - *full_nll);
}

}  // namespace

SensitivityRequest parse_sensitivity(std::string_view text) {
  const std::size_t at = text.rfind('@');
  if (at == std::string_view::npos || at == 0 || at + 1 == text.size()) {
    throw core::InputError("--sensitivity must be policies@counts, such as snapkv@64, got '{}'", text);
  }
  return {sim::make_policies(text.substr(0, at)), sim::parse_budgets(std::string(text.substr(at + 1)))};
}

SensitivityPlan::SensitivityPlan(SensitivityRequest asked, const trace::Source& trace, bool heads)
    : request(std::move(asked)) {
  for (const sim::Policy& policy : request.policies) {
    for (const trace::PromptInfo& prompt : trace.prompts()) sim::check_needs(policy, prompt);
    for (Index layer = 0; layer < trace.model().layers; ++layer) {
      for (Index head = -1; head < (heads ? trace.model().kv_heads : 0); ++head) {
        const sim::EvictionSite site{layer, head < 0 ? std::nullopt : std::optional(head)};
        sites.push_back({&policy, layer, head, evicting_at(policy, site)});
      }
    }
  }
  for (const RulePolicy& rule : kRules) {
    sim::Policy policy = sim::make_policy(rule.policy);
    if (can_serve(trace, policy)) rules.push_back(std::move(policy));
  }
}

RuleShares rule_shares(const SensitivityPlan& plan, const trace::Source& trace) {
  RuleShares shares;
  if (plan.rules.empty()) return shares;
  sim::ReplayOptions options;
  options.tables = false;
  options.retention = [&](const sim::RetentionRecord& record) {
    std::vector<double>& own = shares[{record.prompt.id, record.policy.name, record.budget.text()}];
    for (const sim::LayerRetention& layer : record.retention.layers) {
      own.push_back(static_cast<double>(layer.positions.size()));
    }
    const double all = std::accumulate(own.begin(), own.end(), 0.0);
    for (double& share : own) share /= all;
  };
  sim::replay(trace, plan.rules, plan.request.budgets, options);
  return shares;
}

std::vector<sim::Policy> SensitivityPlan::site_policies() const {
  std::vector<sim::Policy> policies;
  for (const SitePolicy& site : sites) policies.push_back(site.policy);
  return policies;
}

void add_sensitivity_rows(const SensitivityPlan& plan, const trace::ModelInfo& model, const trace::PromptInfo& prompt,
                          const MeasuredPrompt& measured, results::Table& table) {
  const SiteProfile profile(measured.profile, model, prompt.id);
  const RunRows offline(measured.replay);
  const std::optional<RunRows> live =
      measured.validate != nullptr ? std::optional<RunRows>(*measured.validate) : std::nullopt;
  for (const SitePolicy& site : plan.sites) {
    const auto place = std::ranges::find(prompt.layers, site.layer);
    if (place == prompt.layers.end()) continue;  // of a partial recording
    for (const sim::Budget& budget : plan.request.budgets) {
      results::Row row(table);
      row.set("prompt", prompt.id).set("task", prompt.task).set("layer", site.layer);
      set_run(row, {site.base->name, site.base->parameters}, site.base->role, sim::requested(budget, model));
      site.head < 0 ? row.set("head", results::kAllHeads) : row.set("head", site.head);
      profile.set(site.layer, site.head, row);
      for (const RulePolicy& rule : kRules) {
        const auto found = measured.shares.find({prompt.id, rule.policy, budget.text()});
        if (site.head >= 0 || found == measured.shares.end()) continue;
        row.set(rule.column, found->second[static_cast<std::size_t>(place - prompt.layers.begin())]);
      }
      if (const auto own = offline.find(site.policy, budget.text(), std::to_string(site.layer))) {
        for (const results::MeasureInfo& measure : results::measures())
          row.set(measure.column, own->number(measure.column));
        row.set("status", own->text("status"));
      }
      if (live) {
        if (const auto own = live->find(site.policy, budget.text(), "")) set_live(*own, live->full(budget.text()), row);
      }
      table.add_row(std::move(row));
    }
  }
}

std::vector<std::string> SensitivityTables::names() {
  std::vector<std::string> names;
  SensitivityTables().each([&names](const char* name, const results::Table&) { names.emplace_back(name); });
  return names;
}

SensitivityTables sensitivity_tables(results::Table sensitivity) {
  bool any = false;
  for (const RowView row : results::RowsOf(sensitivity)) {
    const std::string status = row.text("status");
    any = any || status == results::status_name(results::RunStatus::kOk) ||
          status == results::status_name(results::RunStatus::kDegenerate);
  }
  if (!any) {
    throw core::InputError(
        "sensitivity: nothing could run: every count is below what is protected, or the prompts have fewer queries "
        "than "
        "the policies read");
  }
  SensitivityTables tables;
  tables.summary = results::sensitivity_summary(sensitivity);
  tables.agreement = results::sensitivity_agreement(sensitivity);
  tables.sensitivity = std::move(sensitivity);
  return tables;
}

void check_sensitivity_trace(const trace::Source& trace) {
  for (const trace::PromptInfo& prompt : trace.prompts()) {
    if (prompt.tier == trace::Tier::kFull) continue;
    throw core::InputError(
        "--sensitivity needs exact losses; prompt '{}' was recorded in the {} tier (record with --tier full)",
        prompt.id, trace::tier_name(prompt.tier));
  }
}

SensitivityTables trace_sensitivity(const trace::Source& trace, const SensitivityRequest& request,
                                    const ProfileTables& profile, Observer& observer) {
  check_sensitivity_trace(trace);
  const SensitivityPlan plan(request, trace, true);
  const RuleShares shares = rule_shares(plan, trace);
  std::vector<results::Table> rows(trace.prompts().size(), results::new_table("sensitivity"));
  sim::ReplayOptions options;
  options.positions = false;
  options.curves = false;
  options.progress = progress_to(observer, {"evicting in one place"});
  options.finished = [&](Index prompt, sim::ReplayResult&& result) {
    const auto place = static_cast<std::size_t>(prompt);
    add_sensitivity_rows(plan, trace.model(), trace.prompts()[place], {result.replay, nullptr, profile, shares},
                         rows[place]);
  };
  sim::replay(trace, plan.site_policies(), plan.request.budgets, options);
  results::Table all = results::new_table("sensitivity");
  for (const results::Table& prompt : rows) all.append(prompt);
  return sensitivity_tables(std::move(all));
}

}  // namespace evictlab::lab
