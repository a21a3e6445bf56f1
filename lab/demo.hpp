#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lab/observer.hpp"
#include "lab/record.hpp"
#include "trace/model.hpp"

// What the demo does with a model: the settings of its commands, which are run one after another.

namespace evictlab::lab {

struct DemoOptions {
  std::optional<std::filesystem::path> model = {};   // none: the shipped one
  std::vector<std::filesystem::path> prompts = {};   // empty: the model's own, otherwise the shipped conversations
  std::optional<std::size_t> prompts_per_task = {};  // of a model's own prompts, of each length; none: two
  std::filesystem::path out = {};                    // the folder for the trace, tables and figures
  bool force = false;                                // replace those of an earlier run
};

struct DemoPlan {
  std::filesystem::path model = {};
  std::vector<std::filesystem::path> prompts = {};
  std::size_t limit = 0;  // of each file; 0 = all
  std::filesystem::path trace = {};
  trace::ElementType dtype = trace::ElementType::kFloat16;
  RecordOutcome recording = {};  // what there is to record, and how large the trace becomes
  std::string policies = {};
  std::string budgets = {};
  // Of the live run, which the replay's policies and budgets include.
  std::vector<std::string> live_prompts = {};  // ids, of different tasks
  std::string live_policies = {};
  std::string live_budgets = {};
};

/// Finds model and prompts, reads the prompts and estimates the recording. A model with a folder `prompts` is read with
/// those: the shipped one, whose tasks it was trained for. Throws core::InputError for what is missing, for prompts
/// that cannot be recorded, and for a trace that is there already without `force`.
DemoPlan plan_demo(const DemoOptions& options, Observer& observer);

}  // namespace evictlab::lab
