#include "lab/plot.hpp"

#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "lab/result_folder.hpp"
#include "lab/result_tables.hpp"
#include "plots/figures.hpp"
#include "plots/gnuplot.hpp"

namespace evictlab::lab {

PlotOutcome plot(const PlotOptions& options, Observer& observer) {
  std::vector<std::string> left_out;
  const std::vector<plots::Figure> figures = plots::all_figures(read_result_tables(options.results), &left_out);
  for (const std::string& reason : left_out) observer.message(Topic::kLeftOut, reason);
  if (figures.empty()) throw core::InputError("{}: its tables have no row to draw", options.results.string());
  const std::vector<std::filesystem::path> tables = result_table_files(options.results);
  report_unlisted(tables, observer);
  ResultFolder folder(options.force, {}, Inputs().add(tables));
  PlotOutcome outcome;
  for (const plots::Figure& figure : figures) {
    for (const std::string& name : plots::files_of(figure)) outcome.files.push_back(folder.plan(options.out / name));
  }
  auto file = outcome.files.begin();
  double done = 0;
  for (const plots::Figure& figure : figures) {
    core::throw_if_interrupted();
    for (const std::string& image : plots::draw(figure)) folder.write(*file++, image);
    observer.progress({"drawing", "figures"}, ++done, static_cast<double>(figures.size()));
  }
  core::throw_if_interrupted();
  folder.commit();
  return outcome;
}

}  // namespace evictlab::lab
