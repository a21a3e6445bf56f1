#include "plots/report/document.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <kainjow/mustache.hpp>

#include "plots/report/answer.hpp"
#include "plots/report/assets.hpp"
#include "plots/report/svg.hpp"

namespace evictlab::plots {
namespace {

namespace mustache = kainjow::mustache;

struct Section {
  const char* id;
  const char* heading;
  std::vector<std::string> figures;
  const char* missing;  // why, when none of them could be drawn
};

const std::vector<Section>& sections() {
  static const std::vector<Section> all = {
      {"patterns",
       "How layers and heads attend",
       {"layers", "attention", "attention_split", "minimum_budget", "heads", "mass_curves", "concentration",
        "layer_overlap"},
       "Left out: no table of analyze is there."},
      {"tasks",
       "What each task asks of the layers",
       {"layer_shares_by_task", "attention_by_task"},
       "Left out: this needs tasks.csv and attention.csv with at least two tasks."},
      {"budgets",
       "Where the budget goes",
       {"layer_budgets", "head_budgets", "kept_positions"},
       "Left out: no budgets.csv or positions.csv is there."},
      {"loss",
       "What eviction costs",
       {"loss", "loss_by_task_mass", "loss_by_task_output", "regret", "bounds"},
       "Left out: no replay.csv is there, or none of its policies could be measured on every prompt."},
      {"needles",
       "Where needles are lost",
       {"needles", "needles_by_layer"},
       "Left out: no spans.csv is there, or no prompt marks a needle."},
      {"foresight",
       "How far the window foresees the future",
       {"foresight", "scorers"},
       "Left out: this needs future queries, recorded in the full tier."},
  };
  return all;
}

mustache::data section_data(const Section& section, const std::vector<Drawing>& drawings) {
  mustache::data figures{mustache::data::type::list};
  for (const std::string& name : section.figures) {
    const auto found = std::ranges::find(drawings, name, &Drawing::name);
    if (found == drawings.end()) continue;
    mustache::data figure;
    figure.set("name", name);
    figure.set("svg", inline_svg(found->svg, name + "-"));
    figures << figure;
  }
  mustache::data data;
  data.set("id", section.id);
  data.set("heading", section.heading);
  if (figures.is_empty_list()) data.set("reason", section.missing);
  data.set("figures", figures);
  return data;
}

mustache::data choice_data(const BudgetAnswer& answer) {
  const auto number = [&](double share) {
    return answer.second.empty() ? std::string() : fmt::format("{:.2f}", 100 * share);
  };
  mustache::data data;
  data.set("budget", fmt::format("{:g}", answer.budget));
  data.set("best", answer.best);
  data.set("retained", fmt::format("{:.2f}", 100 * answer.retained.mean));
  data.set("second", answer.second);
  data.set("lead", number(answer.lead.mean));
  data.set("low", number(answer.lead.low));
  data.set("high", number(answer.lead.high));
  data.set("prompts", std::to_string(answer.prompts));
  return data;
}

void set_answers(mustache::data& page, const std::optional<analysis::Table>& replay) {
  mustache::data sentences{mustache::data::type::list};
  mustache::data choices{mustache::data::type::list};
  const std::vector<BudgetAnswer> answers = replay ? budget_answers(*replay) : std::vector<BudgetAnswer>{};
  for (const BudgetAnswer& answer : answers) {
    sentences << mustache::data{sentence(answer)};
    choices << choice_data(answer);
  }
  if (answers.empty()) {
    page.set("no_answer", replay
                              ? "Left out: replay.csv compares no policies but controls, the oracle or the full cache."
                              : "Left out: no replay.csv is there; evictlab replay or sweep writes it.");
  }
  page.set("has_choices", !answers.empty());
  page.set("answers", sentences);
  page.set("choices", choices);
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
  mustache::data commands{mustache::data::type::list};
  for (const std::string& command : content.commands) commands << mustache::data{command};
  mustache::data parts{mustache::data::type::list};
  for (const Section& section : sections()) parts << section_data(section, content.drawings);

  mustache::data page;
  page.set("title", content.title);
  page.set("style", kReportStyle);
  page.set("script", kReportScript);
  set_answers(page, content.replay);
  page.set("facts", facts);
  page.set("sections", parts);
  page.set("commands", commands);
  mustache::mustache renderer{std::string(kReportTemplate)};
  return renderer.render(page);
}

}  // namespace evictlab::plots
