#include "lab/report.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/gguf.hpp"
#include "core/interrupt.hpp"
#include "core/json.hpp"
#include "lab/analyze.hpp"
#include "lab/calibration_input.hpp"
#include "lab/prompt_look.hpp"
#include "lab/replay.hpp"
#include "lab/result_folder.hpp"
#include "lab/result_tables.hpp"
#include "plots/gnuplot.hpp"
#include "plots/report/document.hpp"
#include "plots/series.hpp"
#include "results/foretell.hpp"
#include "results/rows.hpp"
#include "runtime/tokenizer/text_tokenizer.hpp"
#include "sim/policy/imported.hpp"
#include "trace/io/reader.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;

/// Result tables lie in a directory; so do the parts of a trace, but not as CSV.
bool holds_tables(const fs::path& path) {
  if (!fs::is_directory(path)) return path.extension() == ".csv";
  return std::ranges::any_of(fs::directory_iterator(path),
                             [](const auto& entry) { return entry.path().extension() == ".csv"; });
}

void add_facts(const trace::TraceReader& trace, plots::ReportContent& content) {
  const trace::ModelInfo& model = trace.model();
  std::set<std::string> tasks;
  trace::Index least = 1 << 30;
  trace::Index most = 0;
  for (const trace::PromptInfo& prompt : trace.prompts()) {
    tasks.insert(prompt.task.empty() ? "none" : prompt.task);
    least = std::min(least, prompt.prompt_length);
    most = std::max(most, prompt.prompt_length);
  }
  content.facts.insert(content.facts.end(),
                       {{"model", fmt::format("{}, {}", model.name, model.architecture)},
                        {"layers", std::to_string(model.layers)},
                        {"heads", fmt::format("{} query heads, {} kv heads of dimension {}", model.query_heads,
                                              model.kv_heads, model.head_dim)},
                        {"weights", model.fingerprint},
                        {"prompts", fmt::format("{} of {} to {} positions", trace.prompts().size(), least, most)},
                        {"tasks", fmt::format("{}", fmt::join(tasks, ", "))}});
  if (!trace.provenance().command.empty())
    content.commands.insert(content.commands.begin(), trace.provenance().command);
}

/// Reads from the manifests beside the tables what they say of the recording, and the commands behind the tables.
void read_manifests(const fs::path& directory, plots::ReportContent& content, std::optional<fs::path>& trace) {
  for (const char* table : {"attention", "replay", "validate", "sensitivity", "differences"}) {
    const fs::path path = ResultFolder::manifest_path(directory / (std::string(table) + ".csv"));
    if (!fs::exists(path)) continue;
    const core::JsonDocument document = core::JsonDocument::read(path);
    const core::JsonNode manifest = document.root();
    if (!manifest.is_object()) manifest.fail("is no manifest, which is a JSON object");
    const auto text = [&](const char* name) {
      const auto value = manifest.find(name);
      return value && value->is_string() ? value->string() : std::string();
    };
    if (!text("command").empty()) content.commands.push_back(text("command"));
    if (!trace && !text("trace").empty()) trace = text("trace");
    if (!content.facts.empty()) continue;
    for (const char* name : {"model", "model_fingerprint", "trace"}) {
      if (!text(name).empty()) content.facts.emplace_back(name, text(name));
    }
  }
}

/// The first prompt without a future, which no replay can be judged by.
std::optional<std::string> why_no_replay(const trace::Source& trace) {
  const auto without = std::ranges::find(trace.prompts(), trace::Index{0}, &trace::PromptInfo::future_length);
  if (without == trace.prompts().end()) return std::nullopt;
  return fmt::format("Prompt {} has no future (T = 0) that a replay could be judged by.", without->id);
}

/// Analyzes and replays the trace, and adds the tables.
void add_tables(const trace::TraceReader& trace, const ReportOptions& options, plots::ReportContent& content,
                Observer& observer) {
  plots::ResultTables& tables = content.tables;
  analysis_tables(trace, AnalysisSettings(), observer)
      .each([&](const std::string& name, const results::Table& analysis) { tables[name] = analysis; });
  if (const auto reason = why_no_replay(trace)) {
    content.no_replay = *reason;
    return;
  }
  content.predictor = read_predictor(options.calibration, trace.model());
  const ReplayOutcome outcome = replay({.traces = {options.results},
                                        .policies = options.policies,
                                        .budgets = options.budgets,
                                        .calibration = options.calibration},
                                       observer);
  outcome.each([&](const std::string& name, const results::Table& table) { tables[name] = table; });
}

/// A token's text, or its number where no tokenizer is at hand.
std::function<std::string(std::int32_t)> token_text(const runtime::TextTokenizer* known) {
  if (known == nullptr) return [](std::int32_t token) { return fmt::format("{} ", token); };
  return [known](std::int32_t token) { return known->decode(std::span(&token, 1), false); };
}

/// The policy of a replay table's rows; none, with the reason reported, where the rows alone do not say how to make it.
std::optional<sim::Policy> policy_of_rows(const results::PolicyKey& key, const trace::Source& trace,
                                          Observer& observer) {
  const std::string text = key.parameters.empty() ? key.policy : fmt::format("{}({})", key.policy, key.parameters);
  try {
    sim::Policy policy = sim::make_policy(text);
    if (sim::wants_imported_scores(policy) || sim::wants_imported_budgets(policy)) {
      throw core::InputError("policy {} was replayed with imported scores or budgets", text);
    }
    if (can_serve(trace, policy)) return policy;
  } catch (const core::InputError& error) {  // a table may come from elsewhere, or from a method of one's own
    observer.message(Topic::kNote, fmt::format("the look at single prompts leaves out {}", error.what()));
  }
  return std::nullopt;
}

/// Adds the look at single prompts: the policies and budgets of the replay table, at most so many that their kept
/// positions stay small.
void add_look(const trace::TraceReader& trace, const runtime::TextTokenizer* tokenizer, plots::ReportContent& content,
              Observer& observer) {
  constexpr std::size_t kMostPolicies = 10;
  constexpr std::size_t kMostBudgets = 3;
  const results::Table* const replay = plots::find_table(content.tables, "replay");
  if (replay != nullptr && content.no_replay.empty()) content.no_replay = why_no_replay(trace).value_or("");
  if (replay == nullptr || !content.no_replay.empty()) {
    content.no_look =
        content.no_replay.empty() ? "There is no replay whose policies it could show." : content.no_replay;
    return;
  }
  LookSettings settings;
  std::set<std::string> texts;
  for (const plots::Series& series : plots::series_of(*replay)) {
    if (settings.policies.size() == kMostPolicies) break;
    auto policy = policy_of_rows(series.key, trace, observer);
    // A policy that ignores the budget has nothing to show: it keeps the same at each.
    if (!policy || policy->allocator->traits().ignores_budget || !texts.insert(policy->text()).second) continue;
    settings.policies.push_back(std::move(*policy));
    settings.labels.push_back(series.label);
  }
  if (settings.policies.empty()) {
    content.no_look = "The replay holds no policy that could be shown.";
    return;
  }
  std::string budgets;
  for (const std::string& budget : results::spread(results::requested_budgets(*replay), kMostBudgets)) {
    budgets += (budgets.empty() ? "" : ",") + budget;
  }
  settings.budgets = sim::parse_budgets(budgets);
  settings.text = token_text(tokenizer);
  const results::Table* const spans = plots::find_table(content.tables, "spans");
  content.look = make_look(trace, settings, spans != nullptr ? std::optional(*spans) : std::nullopt, observer);
}

/// Draws the figures of the tables, or says on the page why there are none.
void add_figures(plots::ReportContent& content, Observer& observer) {
  if (const auto reason = plots::why_no_figures()) {
    content.no_figures = *reason;
    observer.message(Topic::kNote, content.no_figures);
    return;
  }
  std::vector<std::string> left_out;
  const std::vector<plots::Figure> figures = plots::all_figures(content.tables, &left_out);
  for (const std::string& reason : left_out) observer.message(Topic::kLeftOut, reason);
  for (const plots::Figure& figure : figures) {
    core::throw_if_interrupted();
    content.drawings.push_back({figure.section, figure.name, plots::draw_svg(figure)});
  }
}

/// Reads the tables, and the trace that their manifests name.
std::optional<fs::path> add_result_tables(const fs::path& results, plots::ReportContent& content, Observer& observer) {
  std::optional<fs::path> recording;
  content.tables = read_result_tables(results);
  report_unlisted(result_table_files(results), observer);
  read_manifests(fs::is_directory(results) ? results : results.parent_path(), content, recording);
  if (recording && fs::exists(*recording)) return recording;
  content.no_look = recording ? fmt::format("The trace {} is not there any more.", recording->string())
                              : "No manifest beside the tables names their trace.";
  return std::nullopt;
}

/// Foretells the KL of a table that was replayed without a calibration: by the one named, or by that which `validate`
/// left beside the tables.
void foretell_tables(const trace::TraceReader& trace, const ReportOptions& options, plots::ReportContent& content,
                     Observer& observer) {
  const auto replay = content.tables.find("replay");
  if (replay == content.tables.end()) return;
  std::optional<fs::path> file = options.calibration;
  const fs::path beside = options.results / "calibration.json";
  if (!file && fs::exists(beside) && !results::is_foretold(replay->second)) file = beside;
  try {
    content.predictor = read_predictor(file, trace.model());
  } catch (const core::InputError& error) {
    if (options.calibration) throw;
    observer.message(Topic::kNote, fmt::format("no KL is foretold: {}", error.what()));
  }
  if (!content.predictor) return;
  std::map<std::string, double> lengths;
  for (const trace::PromptInfo& prompt : trace.prompts()) {
    const bool whole = static_cast<trace::Index>(prompt.layers.size()) == trace.model().layers;
    if (whole) lengths[prompt.id] = static_cast<double>(prompt.prompt_length);
  }
  replay->second = results::foretold(replay->second, *content.predictor, lengths);
  report_unforetold(replay->second, content.predictor, observer);
}

/// Refuses what sets a replay, of tables that one has made already.
void refuse_replay_settings(const ReportOptions& options) {
  const std::pair<const char*, bool> settings[] = {
      {"--policy", options.policies.list != kReportPolicies || !options.policies.policies.empty()},
      {"--budget", options.budgets != kReportBudgets},
      {"--protect", !options.policies.protect.empty()},
      {"--variant", !options.policies.variant.empty()}};
  for (const auto& [name, is_set] : settings) {
    if (!is_set) continue;
    throw core::InputError("report: {} is for a trace; {} holds result tables, which are shown as they are", name,
                           options.results.string());
  }
}

}  // namespace

ReportOutcome report(const ReportOptions& options, Observer& observer) {
  if (!fs::exists(options.results)) throw core::InputError("{}: no such file or directory", options.results.string());
  std::unique_ptr<const runtime::TextTokenizer> tokenizer;
  if (options.model) {
    core::require_model_path(*options.model);
    tokenizer = runtime::load_tokenizer(*options.model);
  }
  plots::ReportContent content{.title = "KV-cache eviction report"};
  const bool has_tables = holds_tables(options.results);
  if (has_tables) refuse_replay_settings(options);
  const std::optional<fs::path> recording =
      has_tables ? add_result_tables(options.results, content, observer) : std::optional(options.results);
  if (options.calibration && !recording) {
    throw core::InputError("report: --calibration needs the trace, whose prompts' lengths it asks for. {}",
                           content.no_look);
  }
  Inputs inputs = has_tables ? Inputs().add(result_table_files(options.results)) : Inputs();
  if (options.model) inputs.add_model(*options.model);
  ResultFolder folder(options.force, options.command, inputs.add(recording).add(options.calibration));
  folder.plan(options.page);
  if (recording) {
    const trace::TraceReader trace(*recording);
    content.facts.clear();
    add_facts(trace, content);
    if (has_tables) {
      foretell_tables(trace, options, content, observer);
    } else {
      add_tables(trace, options, content, observer);
      content.commands.push_back(options.command);
    }
    add_look(trace, tokenizer.get(), content, observer);
  }
  if (options.model && !content.look) {
    observer.message(Topic::kNote,
                     fmt::format("--model is not used: no single prompts are shown. {}", content.no_look));
  }
  add_figures(content, observer);
  folder.write(options.page, plots::report_page(content));
  folder.commit();
  return {options.page, fs::file_size(options.page)};
}

}  // namespace evictlab::lab
