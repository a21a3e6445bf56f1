#include "plots/report/document.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <kainjow/mustache.hpp>

#include "plots/report/assets.hpp"
#include "plots/report/sections.hpp"
#include "plots/report/svg.hpp"

namespace evictlab::plots {
namespace {

namespace mustache = kainjow::mustache;

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

void set_answers(mustache::data& page, const ReportContent& content) {
  const results::Table* const replay = find_table(content.tables, "replay");
  const auto answers = replay ? results::budget_answers(*replay, content.predictor ? &*content.predictor : nullptr)
                              : std::vector<results::BudgetAnswer>{};
  std::vector<std::string> sentences;
  for (const results::BudgetAnswer& answer : answers) {
    sentences.push_back(sentence(answer));
    if (std::string text = task_sentence(answer); !text.empty()) sentences.push_back(std::move(text));
  }
  if (!answers.empty()) {
    for (const std::string& note :
         {results::leading_note(answers.front().measure), results::extrapolation_note(*replay)}) {
      if (!note.empty()) sentences.push_back(note);
    }
  }
  mustache::data tables{mustache::data::type::list};
  if (answers.empty()) {
    const char* const why = replay ? "The replay compares no methods, only controls and ceilings."
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
  for (const Section& section : report_sections(content.tables, content.no_replay)) {
    add_section(section, content.drawings, parts);
  }

  mustache::data page;
  page.set("title", content.title);
  page.set("table", mustache::data{mustache::partial{[] { return std::string(kTableTemplate); }}});
  page.set("style", kReportStyle);
  page.set("tables_script", kTablesScript);
  if (!content.no_figures.empty()) page.set("no_figures", fmt::format("No figures: {}.", content.no_figures));
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
