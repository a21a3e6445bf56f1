#include "results/labels.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "core/text.hpp"

namespace evictlab::results {
namespace {

/// "a=1,b=x(c=2,d=3)" as its top-level items.
std::vector<std::string> parameter_items(const std::string& parameters) {
  std::vector<std::string> items;
  int depth = 0;
  for (const char c : parameters) {
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    if (items.empty() || (c == ',' && depth == 0)) items.emplace_back();
    if (c != ',' || depth != 0) items.back() += c;
  }
  for (std::string& item : items) item = std::string(core::trim(item));
  return items;
}

/// The parameters that distinguish a policy's runs: those with more than one value. Where that is not enough, because a
/// parameter is there or not, also those that some runs lack.
std::map<std::string, std::string> distinctions(const std::set<std::string>& runs) {
  std::map<std::string, std::set<std::string>> values;  // by key
  std::map<std::string, std::size_t> uses;              // by "key=value"
  const auto key_of = [](const std::string& item) { return item.substr(0, item.find('=')); };
  for (const std::string& run : runs) {
    for (const std::string& item : parameter_items(run)) {
      values[key_of(item)].insert(item);
      ++uses[item];
    }
  }
  std::map<std::string, std::string> texts;
  for (const bool brief : {true, false}) {
    std::set<std::string> different;
    for (const std::string& run : runs) {
      std::vector<std::string> distinguishing;
      std::ranges::copy_if(parameter_items(run), std::back_inserter(distinguishing), [&](const std::string& item) {
        return brief ? values[key_of(item)].size() > 1 : uses[item] < runs.size();
      });
      texts[run] = fmt::format("{}", fmt::join(distinguishing, ","));
      different.insert(texts[run]);
    }
    if (different.size() == runs.size()) break;
  }
  return texts;
}

}  // namespace

std::map<PolicyKey, std::string> policy_labels(const std::set<PolicyKey>& policies) {
  std::map<std::string, std::set<std::string>> runs;  // parameters by policy
  for (const PolicyKey& key : policies) runs[key.policy].insert(key.parameters);
  std::map<PolicyKey, std::string> labels;
  for (const auto& [name, own] : runs) {
    for (const auto& [parameters, text] : distinctions(own)) {
      labels[{name, parameters}] = with_parameters(name, text);
    }
  }
  return labels;
}

std::string with_parameters(const std::string& name, const std::string& parameters) {
  return parameters.empty() ? name : fmt::format("{}({})", name, parameters);
}

std::set<PolicyKey> policies_of(const Table& table) {
  const RunColumns columns(table);
  std::set<PolicyKey> policies;
  for (std::size_t row = 0; row < table.rows(); ++row) policies.insert(columns.key(row));
  return policies;
}

std::vector<std::string> row_labels(const Table& table) {
  const RunColumns columns(table);
  const auto labels = policy_labels(policies_of(table));
  std::vector<std::string> texts;
  for (std::size_t row = 0; row < table.rows(); ++row) texts.push_back(labels.at(columns.key(row)));
  return texts;
}

}  // namespace evictlab::results
