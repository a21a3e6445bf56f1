#include "cli/analysis_tables.hpp"

#include <algorithm>

#include "cli/policy_options.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/scorer_agreement.hpp"

namespace evictlab::cli {
namespace {

constexpr const char* kScorers = "random,h2o,tova,snapkv,cake,expected-attention,knorm,keydiff,lagkv";

}  // namespace

AnalysisSettings AnalysisSettings::defaults() { return {{}, sim::make_policies(kScorers)}; }

nlohmann::ordered_json AnalysisSettings::json() const {
  return {{"sinks", profile.profile.sinks}, {"recent", profile.profile.recent},
          {"top", profile.profile.top},     {"window", profile.window},
          {"tau1", profile.tau1},           {"tau2", profile.tau2}};
}

void declare_analysis(Options& options) {
  options.value("sinks", "N", "4", "positions at the start that count as attention sinks");
  options.value("recent", "N", "32", "positions before a query that count as recent");
  options.value("top", "SHARE", "0.05", "share of the positions that is a head's top set");
  options.value("window", "N", "32", "queries that CAKE's dispersion and shift are taken over");
  options.value("tau1", "T", "1", "CAKE's temperature of dispersion");
  options.value("tau2", "T", "1", "CAKE's temperature of shift");
  options.value("policy", "LIST", kScorers,
                "policies whose scorers are compared with the future (those that the recording can serve)");
}

AnalysisSettings analysis_settings(const Options& options) {
  return {{.profile = {.sinks = options.integer("sinks", 0, 1'000'000),
                       .recent = options.integer("recent", 0, 1'000'000),
                       .top = options.number("top", 1e-6, 1.0)},
           .window = options.integer("window", 1, 1'000'000),
           .tau1 = options.number("tau1", 0.01, 100.0),
           .tau2 = options.number("tau2", 0.01, 100.0)},
          sim::make_policies(options.text("policy"))};
}

std::vector<std::string> AnalysisTables::names() {
  std::vector<std::string> names;
  AnalysisTables().each([&names](const char* name, const results::Table&) { names.emplace_back(name); });
  return names;
}

AnalysisTables analysis_tables(const trace::Source& trace, const AnalysisSettings& settings) {
  std::vector<sim::Policy> policies = settings.policies;
  std::erase_if(policies, [&trace](const sim::Policy& policy) { return !can_serve(trace, policy); });
  AnalysisTables tables;
  tables.profile = lab::profile_tables(trace, settings.profile, layer_progress("analysing"));
  tables.scorers =
      sim::scorer_table(trace, policies, settings.profile.profile.top, layer_progress("comparing scorers"));
  tables.tasks = results::task_table(tables.profile.layers, tables.profile.attention);
  return tables;
}

}  // namespace evictlab::cli
