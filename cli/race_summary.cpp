#include "cli/race_summary.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "results/labels.hpp"

namespace evictlab::cli {

std::string race_summary(const lab::RaceOutcome& outcome) {
  std::set<results::PolicyKey> policies;
  for (const results::RaceField& field : outcome.fields) policies.insert(field.racing.begin(), field.racing.end());
  const std::map<results::PolicyKey, std::string> labels = results::policy_labels(policies);
  std::string text = fmt::format(
      "Methods that replay cannot separate, raced live over at most {} documents: a method drops out as soon as "
      "another\n"
      "one is found to have the lower KL on a typical one; 95 % for all pairs, whenever one looks\n\n",
      outcome.documents);
  for (std::size_t i = 0; i < outcome.fields.size(); ++i) {
    const results::RaceField& field = outcome.fields[i];
    const results::Race& race = outcome.races[i];
    std::vector<std::string> left;
    for (std::size_t k = 0; k < field.racing.size(); ++k) {
      if (race.running(k)) left.push_back(labels.at(field.racing[k]));
    }
    std::size_t documents = 0;
    for (const results::Race::Pair& pair : race.pairs()) documents = std::max(documents, pair.lead.count());
    text += fmt::format("  budget {}: {} out by replay, {} raced, {} left", field.budget, field.separated.size(),
                        field.racing.size(), left.size());
    if (documents > 0) text += fmt::format(" after {} documents", documents);
    text += left.empty() ? "\n" : fmt::format(": {}\n", fmt::join(left, ", "));
  }
  const std::size_t saved = outcome.runs_of_all - std::min(outcome.runs, outcome.runs_of_all);
  text += fmt::format("\n  {} live runs done; {} saved of the {} that all these methods on all prompts take\n",
                      outcome.runs, saved, outcome.runs_of_all);
  return text;
}

}  // namespace evictlab::cli
