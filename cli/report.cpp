#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iostream>
#include <set>

#include "cli/analysis_tables.hpp"
#include "cli/common_options.hpp"
#include "cli/outputs.hpp"
#include "cli/policy_options.hpp"
#include "cli/prompt_sources.hpp"
#include "cli/report_look.hpp"
#include "cli/result_tables.hpp"
#include "core/error.hpp"
#include "core/file.hpp"
#include "core/interrupt.hpp"
#include "core/text.hpp"
#include "plots/report/document.hpp"
#include "plots/series.hpp"
#include "results/rows.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/kept_overlap.hpp"
#include "sim/replay/replay.hpp"
#include "trace/io/reader.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPolicies =
    "full,random,protect-only,streaming-llm,h2o,tova,snapkv,ada-snapkv,pyramidkv,dynamickv,cake,oracle";

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

/// What the manifests beside the tables say about the recording, and the commands that made the tables.
void read_manifests(const fs::path& directory, plots::ReportContent& content, std::optional<fs::path>& trace) {
  for (const char* table : {"attention", "replay", "validate", "differences"}) {
    const fs::path path = Outputs::manifest_path(directory / (std::string(table) + ".csv"));
    if (!fs::exists(path)) continue;
    const auto manifest = nlohmann::json::parse(core::read_text(path), nullptr, false);
    if (!manifest.is_object()) throw core::InputError("{}: is no manifest, which is a JSON object", path.string());
    const auto text = [&](const char* name) {
      return manifest.contains(name) && manifest[name].is_string() ? manifest[name].get<std::string>() : std::string();
    };
    if (!text("command").empty()) content.commands.push_back(text("command"));
    if (!trace && !text("trace").empty()) trace = text("trace");
    if (!content.facts.empty()) continue;
    for (const char* name : {"model", "model_fingerprint", "trace"}) {
      if (!text(name).empty()) content.facts.emplace_back(name, text(name));
    }
  }
}

/// The tables of analyze and replay, made here.
void measure(const trace::TraceReader& trace, const Options& options, plots::ReportContent& content) {
  const AnalysisTables analysis = analysis_tables(trace, AnalysisSettings::defaults());
  plots::ResultTables& tables = content.tables;
  analysis.each([&](const std::string& name, const results::Table& table) { tables[name] = table; });
  const auto without_future = std::ranges::find(trace.prompts(), trace::Index{0}, &trace::PromptInfo::future_length);
  if (without_future != trace.prompts().end()) {
    content.no_replay =
        fmt::format("Prompt {} has no future (T = 0) that a replay could be judged by.", without_future->id);
    return;
  }
  const std::vector<sim::Policy> policies =
      usable_policies(sim::make_policies(options.text("policy"), make_options(options)), trace);
  const std::vector<sim::Budget> budgets = sim::parse_budgets(options.text("budget"));
  report_conversions(trace, budgets);
  sim::ReplayOptions replay;
  replay.progress = layer_progress("replaying");
  sim::KeptOverlap kept_overlap(budgets, trace.model().query_heads);
  replay.retention = [&](const sim::RetentionRecord& record) { kept_overlap.add(record); };
  sim::ReplayResult result = sim::replay(trace, policies, budgets, replay);
  tables["replay"] = std::move(result.replay);
  tables["budgets"] = std::move(result.budgets);
  tables["positions"] = std::move(result.positions);
  tables["spans"] = std::move(result.spans);
  tables["kept_overlap"] = kept_overlap.finish();
}

/// A token's text, or its number where no tokenizer is at hand.
std::function<std::string(std::int32_t)> token_text(const Options& options, const ModelTokenizer& tokenizer) {
  if (!options.has("model")) return [](std::int32_t token) { return fmt::format("{} ", token); };
  const runtime::TextTokenizer* known = &tokenizer.get();
  return [known](std::int32_t token) { return known->decode(std::span(&token, 1), false); };
}

/// The policies and budgets of the replay table; at most so many that their kept positions stay small.
void add_look(const trace::TraceReader& trace, const Options& options, plots::ReportContent& content) {
  constexpr std::size_t kMostPolicies = 10;
  constexpr std::size_t kMostBudgets = 3;
  const results::Table* const replay = plots::find_table(content.tables, "replay");
  if (replay == nullptr) {
    content.no_look =
        content.no_replay.empty() ? "There is no replay whose policies it could show." : content.no_replay;
    return;
  }
  LookSettings settings;
  for (const plots::Series& series : plots::series_of(*replay)) {
    const std::string& name = series.key.policy;
    if (name == "full" || name == "protect-only" || settings.policies.size() == kMostPolicies) continue;
    try {
      sim::Policy policy =
          sim::make_policy(series.key.parameters.empty() ? name : fmt::format("{}({})", name, series.key.parameters));
      if (!can_serve(trace, policy)) continue;
      settings.policies.push_back(std::move(policy));
      settings.labels.push_back(series.label);
    } catch (const core::InputError&) {
      continue;  // of a table that another program made
    }
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
  const ModelTokenizer tokenizer(options.has("model") ? options.path("model") : fs::path());
  settings.text = token_text(options, tokenizer);
  const results::Table* const spans = plots::find_table(content.tables, "spans");
  content.look = make_look(trace, settings, spans ? std::optional(*spans) : std::nullopt);
}

}  // namespace

int run_report(const Arguments& arguments) {
  Options options(
      "report", "TRACE|RESULTS --out FILE.html [OPTION ...]",
      "Writes one HTML page, which loads nothing: which policy keeps most at each budget and how sure that is, what "
      "the\n"
      "layers do, where needles are lost, every figure, and a look at single prompts. Of a trace it makes the tables "
      "of\n"
      "analyze and replay itself; of a directory it takes those that are there. What is missing is left out, with the\n"
      "reason in its place.");
  options.positional("results", "a trace, or a directory with the tables of analyze, replay, sweep, validate",
                     Options::Count::kOne);
  options.value("out", "FILE.html", "", "the page to write");
  options.value("model", "DIR", "", "the model directory, whose tokenizer turns tokens into text");
  options.value("policy", "LIST", kPolicies, "of a trace: the policies to replay");
  options.value("budget", "LIST", "48,64,96,128,256", "of a trace: the budgets to replay them at");
  declare_policy_defaults(options);
  declare_threads(options);
  options.flag("force", "replace an existing page");
  if (!options.parse(arguments)) return 0;

  use_threads(options);
  const fs::path results = options.path("results");
  const fs::path page = Outputs(options.has("force")).plan(options.path("out"));
  if (!fs::exists(results)) throw core::InputError("{}: no such file or directory", results.string());
  plots::ReportContent content{.title = "KV-cache eviction report"};
  std::optional<fs::path> recording;
  if (holds_tables(results)) {
    content.tables = read_result_tables(results);
    read_manifests(fs::is_directory(results) ? results : results.parent_path(), content, recording);
    if (!recording || !fs::exists(*recording)) {
      content.no_look = recording ? fmt::format("The trace {} is not there any more.", recording->string())
                                  : "No manifest beside the tables names their trace.";
      recording.reset();
    }
  } else {
    recording = results;
  }
  if (recording) {
    const trace::TraceReader trace(*recording);
    content.facts.clear();
    add_facts(trace, content);
    if (!holds_tables(results)) {
      measure(trace, options, content);
      content.commands.push_back(command_line());
    }
    add_look(trace, options, content);
  }
  for (const plots::Figure& figure : plots::all_figures(content.tables)) {
    core::throw_if_interrupted();
    content.drawings.push_back({figure.section, figure.name, plots::draw_svg(figure)});
  }
  Outputs::make_parent(page);
  core::write_text(page, plots::report_page(content));
  std::cerr << fmt::format("wrote {} ({})\n", page.string(),
                           core::format_bytes(static_cast<double>(fs::file_size(page))));
  return 0;
}

}  // namespace evictlab::cli
