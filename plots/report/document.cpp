#include "plots/report/document.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <kainjow/mustache.hpp>

#include "plots/report/answer.hpp"
#include "plots/report/assets.hpp"
#include "plots/report/findings.hpp"
#include "plots/report/svg.hpp"

namespace evictlab::plots {
namespace {

namespace mustache = kainjow::mustache;

/// A section of the page: sentences, a table, and the figures that figures.def lists under its id. `missing` says why,
/// when there is none of them.
struct Section {
  const char* id;
  const char* heading;
  std::string missing;
  Sentences sentences = {};
  SmallTable table = {};
};

std::vector<Section> sections(const ReportContent& content) {
  const ResultTables& tables = content.tables;
  const auto unless_replayed = [&](const char* why) {
    return content.no_replay.empty() ? std::string(why) : content.no_replay;
  };
  std::vector<Section> all = {
      {"loss", "What eviction costs",
       unless_replayed("No replay.csv is there, or none of its policies could be measured on every prompt.")},
      {"needles",
       "Where needles are lost",
       unless_replayed("No spans.csv is there, or no prompt marks a span called needle."),
       {},
       needle_findings(tables)},
      {"patterns", "How layers and heads attend", "No table of analyze is there.", pattern_findings(tables)},
      {"tasks", "What each task asks of the layers", "This needs tasks.csv and attention.csv with at least two tasks.",
       task_findings(tables)},
      {"budgets",
       "Where the budget goes",
       unless_replayed("No budgets.csv or positions.csv is there."),
       {},
       budget_findings(tables)},
      {"foresight", "How far the future can be foreseen", "This needs future queries, recorded in the full tier."},
      {"live",
       "Prediction against outcome",
       "No tables of evictlab validate are there: what becomes of the model's answers was not measured.",
       {},
       calibration_findings(tables)},
      {"differences", "What differs between two recordings", ""}};
  return all;
}

mustache::data list_of(const std::vector<std::string>& texts) {
  mustache::data list{mustache::data::type::list};
  for (const std::string& text : texts) list << mustache::data{text};
  return list;
}

mustache::data table_data(const SmallTable& table) {
  mustache::data rows{mustache::data::type::list};
  for (const std::vector<std::string>& row : table.rows) {
    mustache::data cells{mustache::data::type::list};
    for (std::size_t i = 0; i < row.size(); ++i) {
      mustache::data cell;
      cell.set("value", row[i]);
      cell.set("text", i < table.text_columns);
      cells << cell;
    }
    mustache::data data;
    data.set("cells", cells);
    rows << data;
  }
  mustache::data data;
  data.set("caption", table.caption);
  data.set("columns", list_of(table.columns));
  data.set("rows", rows);
  return data;
}

/// Nothing for a section that is empty and has no reason to give.
void add_section(const Section& section, const std::vector<Drawing>& drawings, mustache::data& parts) {
  mustache::data figures{mustache::data::type::list};
  for (const Drawing& drawing : drawings) {
    if (drawing.section != section.id) continue;
    mustache::data figure;
    figure.set("name", drawing.name);
    figure.set("svg", inline_svg(drawing.svg, drawing.name + "-"));
    figures << figure;
  }
  const bool empty = figures.is_empty_list() && section.sentences.empty() && section.table.rows.empty();
  if (empty && section.missing.empty()) return;
  mustache::data data;
  data.set("id", section.id);
  data.set("heading", section.heading);
  if (empty) data.set("reason", fmt::format("Left out. {}", section.missing));
  data.set("sentences", list_of(section.sentences));
  mustache::data tables{mustache::data::type::list};
  if (!section.table.rows.empty()) tables << table_data(section.table);
  data.set("tables", tables);
  data.set("figures", figures);
  parts << data;
}

std::string hundredths(double share) { return fmt::format("{:.2f}", 100 * share); }

/// Every competing policy at every budget, and how far it is behind the best.
SmallTable choices(const std::vector<BudgetAnswer>& answers) {
  SmallTable table{
      .caption =
          "Retained attention mass by policy and budget, mean over layers and prompts, and how far behind the "
          "best at that budget; 95 % bootstrap intervals, paired over prompts",
      .columns = {"policy", "budget, slots", "held, slots", "retained, %", "behind the best, points", "low", "high",
                  "n, prompts"}};
  for (const BudgetAnswer& answer : answers) {
    for (const Contender& one : answer.contenders) {
      table.rows.push_back({one.label, fmt::format("{:g}", answer.budget), fmt::format("{:.1f}", one.slots),
                            hundredths(one.retained.mean), hundredths(one.behind.mean), hundredths(one.behind.low),
                            hundredths(one.behind.high), std::to_string(answer.prompts)});
    }
  }
  return table;
}

void set_answers(mustache::data& page, const ReportContent& content) {
  const results::Table* const replay = find_table(content.tables, "replay");
  const std::vector<BudgetAnswer> answers = replay ? budget_answers(*replay) : std::vector<BudgetAnswer>{};
  std::vector<std::string> sentences;
  for (const BudgetAnswer& answer : answers) sentences.push_back(sentence(answer));
  mustache::data tables{mustache::data::type::list};
  if (answers.empty()) {
    const char* const why = replay ? "The replay compares no policies but controls, the oracle or the full cache."
                                   : "No replay.csv is there; evictlab replay or sweep writes it.";
    page.set("no_answer", fmt::format("Left out. {}", content.no_replay.empty() ? why : content.no_replay.c_str()));
  } else {
    tables << table_data(choices(answers));
  }
  page.set("answers", list_of(sentences));
  page.set("choices", tables);
}

void set_look(mustache::data& page, const ReportContent& content) {
  if (!content.look) {
    page.set("no_look", fmt::format("Left out. {}", content.no_look));
    return;
  }
  mustache::data look;
  look.set("choice", content.look->choice);
  look.set("data", look_json(*content.look));
  page.set("look", look);
  page.set("look_script", kLookScript);
}

}  // namespace

std::string report_page(const ReportContent& content) {
  mustache::data facts{mustache::data::type::list};
  for (const auto& [name, value] : content.facts) {
    mustache::data fact;
    fact.set("name", name);
    fact.set("value", value);
    facts << fact;
  }
  mustache::data parts{mustache::data::type::list};
  for (const Section& section : sections(content)) add_section(section, content.drawings, parts);

  mustache::data page;
  page.set("title", content.title);
  page.set("table", mustache::data{mustache::partial{[] { return std::string(kTableTemplate); }}});
  page.set("style", kReportStyle);
  page.set("tables_script", kTablesScript);
  set_answers(page, content);
  set_look(page, content);
  page.set("facts", facts);
  page.set("sections", parts);
  std::vector<std::string> commands;  // one may have made several tables
  for (const std::string& command : content.commands) {
    if (std::ranges::find(commands, command) == commands.end()) commands.push_back(command);
  }
  page.set("commands", list_of(commands));
  mustache::mustache renderer{std::string(kReportTemplate)};
  return renderer.render(page);
}

}  // namespace evictlab::plots
