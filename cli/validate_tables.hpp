#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "cli/outputs.hpp"
#include "cli/prompt_parts.hpp"
#include "cli/validate_rows.hpp"

namespace evictlab::cli {

/// Where the tables of a validation go.
struct ValidateFiles {
  std::filesystem::path validate, outcomes, calibration, predictions, disagreements;
  std::optional<std::filesystem::path> replay, spans, needles;  // none where a replay is given

  /// Plans them in `directory`.
  ValidateFiles(const Outputs& outputs, const std::filesystem::path& directory, bool replay_is_given);
};

/// Makes the tables of the finished prompts, says what they show, and removes the parts. `given`: the replay to compare
/// with, where it was not made here. `settings`: what the parts were opened with.
void finish_validation(const ValidationPlan& plan, const std::vector<runtime::TokenizedPrompt>& prompts,
                       const PromptParts& parts, const ValidateFiles& files, const Outputs& outputs,
                       const std::optional<results::Table>& given, const nlohmann::ordered_json& settings);

}  // namespace evictlab::cli
