#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "lab/observer.hpp"
#include "lab/policy_selection.hpp"
#include "lab/policy_sets.hpp"

namespace evictlab::lab {

/// The budgets that a report replays a trace at.
inline constexpr const char* kReportBudgets = "48,64,96,128,256";

struct ReportOptions {
  std::filesystem::path results = {};                  // a trace, a directory of result tables, or a replay table
  std::optional<std::filesystem::path> model = {};     // whose tokenizer turns tokens into text
  PolicyRequest policies = {.list = kReportPolicies};  // of a trace; others are refused of tables
  std::string budgets = kReportBudgets;                // likewise

  std::optional<std::filesystem::path> calibration = {};  // what foretells the KL divergence; of tables also calibration.json beside

  std::filesystem::path page = {};  // the HTML file to write
  bool force = false;
  std::string command = {};
};

struct ReportOutcome {
  std::filesystem::path page;
  std::uintmax_t bytes = 0;
};

/// Writes one HTML page that loads nothing, of a trace (which it analyzes and replays) or of result tables. Throws
/// core::InputError, core::Interrupted.
ReportOutcome report(const ReportOptions& options, Observer& observer);

}  // namespace evictlab::lab
