#include "cli/policy_labels.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "sim/policy/policy_text.hpp"

namespace evictlab::cli {
namespace {

using results::Table;

std::vector<std::string> parameters_of(const Table& table, std::size_t row) {
  const std::string text = table.text(row, table.column("parameters"));
  return text.empty() ? std::vector<std::string>() : sim::split_list(text, "parameters");
}

/// Of a policy's runs: what each was given.
using Runs = std::map<std::string, std::vector<std::string>>;  // parameters as written → split

/// What tells a policy's runs apart: parameters with more than one value. Where that is not enough, because a parameter
/// is there or not, also those that some runs lack.
std::map<std::string, std::string> distinctions(const Runs& runs) {
  std::map<std::string, std::set<std::string>> values;  // by key
  std::map<std::string, std::size_t> uses;              // by "key=value"
  const auto key_of = [](const std::string& parameter) { return parameter.substr(0, parameter.find('=')); };
  for (const auto& [run, parameters] : runs) {
    for (const std::string& parameter : parameters) {
      values[key_of(parameter)].insert(parameter);
      ++uses[parameter];
    }
  }
  std::map<std::string, std::string> texts;
  for (const bool brief : {true, false}) {
    std::set<std::string> different;
    for (const auto& [run, parameters] : runs) {
      std::vector<std::string> telling;
      std::ranges::copy_if(parameters, std::back_inserter(telling), [&](const std::string& parameter) {
        return brief ? values[key_of(parameter)].size() > 1 : uses[parameter] < runs.size();
      });
      texts[run] = fmt::format("{}", fmt::join(telling, ","));
      different.insert(texts[run]);
    }
    if (different.size() == runs.size()) break;
  }
  return texts;
}

}  // namespace

std::vector<std::string> policy_labels(const Table& table) {
  const std::size_t policy = table.column("policy");
  const std::size_t parameters = table.column("parameters");
  std::map<std::string, Runs> runs;
  for (std::size_t row = 0; row < table.rows(); ++row) {
    runs[table.text(row, policy)][table.text(row, parameters)] = parameters_of(table, row);
  }
  std::map<std::string, std::map<std::string, std::string>> told;
  for (const auto& [name, own] : runs) told[name] = distinctions(own);
  std::vector<std::string> texts;
  for (std::size_t row = 0; row < table.rows(); ++row) {
    const std::string name = table.text(row, policy);
    const std::string& telling = told[name][table.text(row, parameters)];
    texts.push_back(telling.empty() ? name : fmt::format("{}({})", name, telling));
  }
  return texts;
}

}  // namespace evictlab::cli
