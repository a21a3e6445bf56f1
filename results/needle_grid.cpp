#include "results/outcomes.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>

#include "results/run_table.hpp"
#include "results/schema.hpp"

namespace evictlab::results {

Table needle_grid(const Table& validate, const Table& spans) {
  using Key = std::tuple<std::string, PolicyKey, std::string>;  // prompt, policy, budget
  const auto key_of = [](const Run& run) { return Key(run.prompt, run.key, run.budget_text); };
  std::map<Key, std::size_t> kept;  // row of spans
  for (const Run& run : runs_over_layers(spans)) {
    if (spans.text(run.row, spans.column("span")) == "needle") kept[key_of(run)] = run.row;
  }
  const std::vector<Run> runs = runs_over_layers(validate);
  const auto says_depth = [&](const Run& run) {
    return validate.number(run.row, validate.column("depth")).has_value();
  };
  const bool some_say = std::ranges::any_of(runs, says_depth);
  Table grid = new_table("needles");
  for (const Run& run : runs) {
    if (run.turn != 1 || (some_say && !says_depth(run))) continue;
    const auto found = kept.find(key_of(run));
    const auto accuracy = validate.number(run.row, validate.column("accuracy_after_first"));
    if (found == kept.end() || !accuracy) continue;
    const auto of_span = [&](const char* column) { return spans.row(found->second)[spans.column(column)]; };
    const auto live = [&](const char* column) { return validate.row(run.row)[validate.column(column)]; };
    Row row(grid);
    set_run(row, run.key, run.role, run.budget)
        .set("prompt", run.prompt)
        .set("task", run.task)
        .set("prompt_length", live("prompt_length"))
        .set("depth", of_span("depth"))
        .set("accuracy", live("accuracy_after_first"))
        .set("retained", of_span("retained"));
    grid.add_row(std::move(row));
  }
  return grid;
}

}  // namespace evictlab::results
