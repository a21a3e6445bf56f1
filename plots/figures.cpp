#include "plots/figures.hpp"

#include <algorithm>

namespace evictlab::plots {
namespace {

struct FigureEntry {
  const char* section;
  const char* table;
  std::vector<Figure> (*draw)(const results::Table&);
};

constexpr FigureEntry kFigures[] = {
#define FIGURE(section, table, function) {#section, #table, function},
#include "plots/figures.def"
#undef FIGURE
};

}  // namespace

const results::Table* find_table(const ResultTables& tables, std::string_view name) {
  const auto found = tables.find(name);
  return found == tables.end() ? nullptr : &found->second;
}

const std::vector<std::string>& figure_tables() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const FigureEntry& entry : kFigures) {
      if (std::ranges::find(names, entry.table) == names.end()) names.emplace_back(entry.table);
    }
    return names;
  }();
  return kNames;
}

std::vector<Figure> all_figures(const ResultTables& tables, std::vector<std::string>* left_out) {
  std::vector<Figure> figures;
  for (const FigureEntry& entry : kFigures) {
    const results::Table* const table = find_table(tables, entry.table);
    if (table == nullptr) continue;
    try {
      for (Figure& figure : entry.draw(*table)) {
        figure.section = entry.section;
        figures.push_back(std::move(figure));
      }
    } catch (const PlotError& error) {
      if (left_out == nullptr) throw;
      left_out->emplace_back(error.what());
    }
  }
  return figures;
}

}  // namespace evictlab::plots
