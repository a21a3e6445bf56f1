#include "sim/policy/policy_text.hpp"

#include <algorithm>

#include "core/text.hpp"

namespace evictlab::sim {

std::vector<std::string> split_list(std::string_view list, std::string_view what) {
  std::vector<std::string> items;
  std::size_t begin = 0;
  int depth = 0;
  for (std::size_t i = 0; i <= list.size(); ++i) {
    const bool at_end = i == list.size();
    if (!at_end && list[i] == '(') ++depth;
    if (!at_end && list[i] == ')' && --depth < 0) throw PolicyError("{} '{}': ')' without '('", what, list);
    if (!at_end && (list[i] != ',' || depth > 0)) continue;
    if (depth > 0) throw PolicyError("{} '{}': '(' without ')'", what, list);
    const std::string_view item = core::trim(list.substr(begin, i - begin));
    if (item.empty()) throw PolicyError("{} '{}': an item is empty", what, list);
    items.emplace_back(item);
    begin = i + 1;
  }
  return items;
}

PolicySpec parse_policy(std::string_view text) {
  text = core::trim(text);
  if (split_list(text, "policy").size() != 1) throw PolicyError("policy '{}': expected one policy, not a list", text);
  PolicySpec spec;
  const std::size_t open = text.find('(');
  spec.name = core::trim(text.substr(0, open));
  if (spec.name.empty()) throw PolicyError("policy '{}': a name must come before '('", text);
  if (open == std::string_view::npos) return spec;
  if (text.back() != ')') throw PolicyError("policy '{}': nothing may follow ')'", text);
  const std::string_view inside = core::trim(text.substr(open + 1, text.size() - open - 2));
  if (inside.empty()) return spec;
  for (const std::string& item : split_list(inside, "parameters")) {
    const std::size_t equals = item.find('=');
    const std::string key(core::trim(std::string_view(item).substr(0, equals)));
    const std::string value(equals == std::string::npos ? "" : core::trim(std::string_view(item).substr(equals + 1)));
    if (key.empty() || value.empty()) throw PolicyError("policy '{}': expected key=value, got '{}'", text, item);
    const bool repeated = std::any_of(spec.parameters.begin(), spec.parameters.end(),
                                      [&](const auto& given) { return given.first == key; });
    if (repeated) throw PolicyError("policy '{}': {} is given twice", text, key);
    spec.parameters.emplace_back(key, value);
  }
  return spec;
}

std::vector<PolicySpec> parse_policies(std::string_view list) {
  std::vector<PolicySpec> specs;
  for (const std::string& item : split_list(list, "policies")) specs.push_back(parse_policy(item));
  return specs;
}

}  // namespace evictlab::sim
