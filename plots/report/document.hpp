#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "plots/figures.hpp"
#include "plots/report/look.hpp"
#include "results/prediction.hpp"

namespace evictlab::plots {

/// A figure as it was drawn.
struct Drawing {
  std::string section;  // of the page, as figures.def says
  std::string name;
  std::string svg;
};

/// What a report is made of. All text stands for itself; it is escaped when the page is made.
struct ReportContent {
  std::string title = {};
  std::vector<std::pair<std::string, std::string>> facts = {};  // on the model and the recording
  ResultTables tables = {};
  std::optional<results::KlPredictor> predictor = {};  // what foretold the KL of the replay, where that is known
  std::vector<Drawing> drawings = {};
  std::string no_figures = {};  // why none is drawn, where that is so
  std::vector<std::string> commands = {};
  std::string no_replay = {};  // why nothing was replayed, where that is so
  std::optional<Look> look = {};
  std::string no_look = {};  // why there is none
};

/// The report: one HTML page that loads nothing. A part for which there is nothing says why in its place.
std::string report_page(const ReportContent& content);

}  // namespace evictlab::plots
