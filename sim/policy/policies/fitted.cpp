// A policy that `evictlab fit` measured on recordings: per kv head the scorer, the protection and the budget for any
// total (sim/policy/fitted.hpp).

#include <filesystem>

#include "core/file.hpp"
#include "core/hash.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/fitted.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

// Enough to tell files apart in tables, short enough to be read there.
constexpr std::size_t kDigestLength = 12;

std::string digest_of(const std::string& text) {
  const std::string hash = core::content_hash(text);
  return hash.substr(hash.find(':') + 1, kDigestLength);
}

Policy policy_of_file(const Parameters& given) {
  const std::string& file = given.text("file");
  if (file.empty()) throw PolicyError("{} needs file=, the policy.json that evictlab fit wrote", given.owner());
  const std::string text = core::read_text(file);
  FittedPolicy fitted = parse_fitted(core::JsonDocument::parse<PolicyError>(text, file));
  fitted.digest = digest_of(text);
  const std::string& wanted = given.text("digest");
  if (!wanted.empty() && wanted != fitted.digest) {
    throw PolicyError("{}: {} has the digest {}, not {}: the file has changed", given.owner(), file, fitted.digest,
                      wanted);
  }
  const bool any_model = is_yes(given, "any_model");
  Policy policy = make_fitted(std::make_shared<const FittedPolicy>(std::move(fitted)), any_model);
  const std::string_view suffix = any_model ? ",any_model=yes" : "";
  policy.parameters = fmt::format("file={},digest={}{}", file, policy.fitted_to.digest, suffix);
  policy.changes = fmt::format("file={}{}", std::filesystem::path(file).filename().string(), suffix);
  return policy;
}

}  // namespace

PolicyDefinition fitted() {
  ParameterList parameters;
  parameters.text("file", {"the path of a policy.json"}, "what evictlab fit wrote")
      .text("digest", {"the first digits of a hash"}, "of the file, so that tables name what they were made with")
      .add(yes_no_parameter("any_model", false, "also on a model that it was not fitted to"));
  return {.description = "scorers, protection and budgets per head as evictlab fit measured them on recordings",
          .source = "own",
          .parameters = parameters,
          .from_file = true,
          .build = policy_of_file};
}

}  // namespace evictlab::sim
