#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/options.hpp"
#include "core/text.hpp"
#include "lab/result_folder.hpp"
#include "trace/io/reader.hpp"

namespace evictlab::cli {
namespace {

using trace::Index;

// Of sizes, all positive: "64" or "64 to 512".
struct Range {
  Index least = 0;
  Index most = 0;
  void include(Index value) {
    least = least == 0 ? value : std::min(least, value);
    most = std::max(most, value);
  }
  std::string text() const { return least == most ? fmt::format("{}", least) : fmt::format("{} to {}", least, most); }
  nlohmann::ordered_json json() const { return {least, most}; }
};

struct Task {
  Index prompts = 0;
  std::set<std::string> tiers;
  std::set<std::string> futures;
  Range prompt_length;
  Range future_length;
  Range window;
  Range layers;
};

struct DatasetKind {
  Index datasets = 0;
  std::uint64_t bytes = 0;
};

// What a trace holds, added up.
struct Contents {
  std::map<std::string, Task> tasks;
  std::vector<trace::TraceReader::DatasetInfo> datasets;
  std::map<std::string, DatasetKind> kinds;  // by the dataset's name
  std::uint64_t bytes = 0;
};

// The last part of a dataset's path that is a name: layers have numbers.
std::string kind_of(const std::string& path) {
  return path.starts_with("/model/output_weight/") ? "output_weight" : path.substr(path.rfind('/') + 1);
}

Contents contents_of(const trace::TraceReader& trace) {
  Contents contents;
  for (const trace::PromptInfo& prompt : trace.prompts()) {
    Task& task = contents.tasks[prompt.task];
    ++task.prompts;
    task.tiers.emplace(trace::tier_name(prompt.tier));
    task.futures.insert(prompt.future_kind);
    task.prompt_length.include(prompt.prompt_length);
    task.future_length.include(prompt.future_length);
    task.window.include(prompt.window);
    task.layers.include(static_cast<Index>(prompt.layers.size()));
  }
  contents.datasets = trace.datasets();
  for (const auto& dataset : contents.datasets) {
    DatasetKind& kind = contents.kinds[kind_of(dataset.path)];
    ++kind.datasets;
    kind.bytes += dataset.bytes;
    contents.bytes += dataset.bytes;
  }
  return contents;
}

Range sliding_windows(const trace::ModelInfo& model) {
  Range range;
  for (const Index window : model.sliding_windows) {
    if (window > 0) range.include(window);
  }
  return range;
}

std::string joined(const std::set<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// "dtype=float16, window=64".
std::string settings_line(const trace::Settings& settings) {
  std::string text;
  for (const auto& [name, value] : settings) text += fmt::format("{}{}={}", text.empty() ? "" : ", ", name, value);
  return text;
}

void print_text(const trace::TraceReader& trace, const Contents& contents, bool with_datasets) {
  const trace::ModelInfo& model = trace.model();
  const auto line = [](std::string_view name, const std::string& value) {
    std::cout << fmt::format("{:<20}{}\n", name, value);
  };
  line("model", fmt::format("{} ({})", model.name, model.architecture));
  line("layers", fmt::format("{}", model.layers));
  line("heads",
       fmt::format("{} query heads, {} kv heads of dimension {}", model.query_heads, model.kv_heads, model.head_dim));
  line("position encoding", model.position_encoding);
  const auto windowed = std::ranges::count_if(model.sliding_windows, [](Index window) { return window > 0; });
  if (windowed > 0) {
    line("sliding window", fmt::format("{} in {} of {} layers", sliding_windows(model).text(), windowed, model.layers));
  }
  line("weights", model.fingerprint);
  line("written by", trace.provenance().writer);
  line("command", trace.provenance().command);
  if (!trace.provenance().settings.empty()) line("settings", settings_line(trace.provenance().settings));
  line("prompts", fmt::format("{}", trace.prompts().size()));

  std::cout << fmt::format("\n{:<20}{:>8}  {:<8}  {:<16}{:<14}{:<10}{:<8}{}\n", "task", "prompts", "tier", "n", "T",
                           "w", "layers", "future");
  for (const auto& [name, task] : contents.tasks) {
    std::cout << fmt::format("{:<20}{:>8}  {:<8}  {:<16}{:<14}{:<10}{:<8}{}\n", name.empty() ? "(none)" : name,
                             task.prompts, joined(task.tiers), task.prompt_length.text(), task.future_length.text(),
                             task.window.text(), task.layers.text(), joined(task.futures));
  }

  std::cout << fmt::format("\n{:<20}{:>8}  {}\n", "dataset", "number", "size");
  for (const auto& [name, kind] : contents.kinds) {
    std::cout << fmt::format("{:<20}{:>8}  {}\n", name, kind.datasets,
                             core::format_bytes(static_cast<double>(kind.bytes)));
  }
  std::cout << fmt::format("{:<20}{:>8}  {}\n", "total", contents.datasets.size(),
                           core::format_bytes(static_cast<double>(contents.bytes)));

  if (!with_datasets) return;
  std::cout << '\n';
  for (const auto& dataset : contents.datasets) {
    std::cout << fmt::format("{}  {} {}  ({})  {}\n", dataset.path, dataset.type, dataset.shape, dataset.axes,
                             dataset.unit);
  }
}

void print_json(const trace::TraceReader& trace, const Contents& contents, bool with_datasets) {
  using Json = nlohmann::ordered_json;
  const trace::ModelInfo& model = trace.model();
  Json json;
  json["format_version"] = trace.provenance().format_version;
  json["writer"] = trace.provenance().writer;
  json["command"] = trace.provenance().command;
  json["settings"] = trace.provenance().settings;
  json["model"] = Json{{"name", model.name},
                       {"architecture", model.architecture},
                       {"layers", model.layers},
                       {"query_heads", model.query_heads},
                       {"kv_heads", model.kv_heads},
                       {"head_dim", model.head_dim},
                       {"hidden_size", model.hidden_size},
                       {"attention_scale", model.attention_scale},
                       {"sliding_windows", model.sliding_windows},
                       {"position_encoding", model.position_encoding},
                       {"fingerprint", model.fingerprint},
                       {"cache_element_bytes", model.cache_element_bytes}};
  json["prompts"] = Json::array();
  for (const trace::PromptInfo& prompt : trace.prompts()) {
    json["prompts"].push_back({{"id", prompt.id},
                               {"task", prompt.task},
                               {"source", prompt.source},
                               {"document", prompt.document},
                               {"prompt_length", prompt.prompt_length},
                               {"future_length", prompt.future_length},
                               {"future_kind", prompt.future_kind},
                               {"tier", trace::tier_name(prompt.tier)},
                               {"window", prompt.window},
                               {"gradient_draws", prompt.gradient_draws},
                               {"layers", prompt.layers}});
  }
  json["tasks"] = Json::object();
  for (const auto& [name, task] : contents.tasks) {
    json["tasks"][name] = {{"prompts", task.prompts},
                           {"prompt_length", task.prompt_length.json()},
                           {"future_length", task.future_length.json()}};
  }
  json["bytes"] = Json::object();
  for (const auto& [name, kind] : contents.kinds) json["bytes"][name] = kind.bytes;
  json["total_bytes"] = contents.bytes;
  if (with_datasets) {
    json["datasets"] = Json::array();
    for (const auto& dataset : contents.datasets) {
      json["datasets"].push_back({{"path", dataset.path},
                                  {"type", dataset.type},
                                  {"shape", Json::parse(dataset.shape)},
                                  {"axes", dataset.axes},
                                  {"unit", dataset.unit},
                                  {"bytes", dataset.bytes}});
    }
  }
  std::cout << lab::json_text(json, 2);
}

}  // namespace

int run_info(const Arguments& arguments) {
  Options options("info", "TRACE [--json] [--datasets]",
                  "Shows what a trace holds: the model, prompts per task with their lengths (n prompt positions, T "
                  "future positions, w recorded window queries), the tier, and the size of each kind of dataset.");
  options.positional("trace", "the trace: a file or a directory of parts", Options::Count::kOne);
  options.flag("json", "print it as JSON");
  options.flag("datasets", "list every dataset with its type, shape, axes and unit");
  if (!options.parse(arguments)) return 0;

  const trace::TraceReader trace(options.path("trace"));
  const Contents contents = contents_of(trace);
  if (options.has("json")) {
    print_json(trace, contents, options.has("datasets"));
  } else {
    print_text(trace, contents, options.has("datasets"));
  }
  return 0;
}

}  // namespace evictlab::cli
