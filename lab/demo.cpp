#include "lab/demo.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/error.hpp"
#include "lab/policy_sets.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;

/// What is shipped under models/: beside the program in a build tree, or where `cmake --install` put it.
fs::path shipped(const fs::path& name) {
  std::error_code error;
  const fs::path beside = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& models : {beside / "../../models", beside / "../share/evictlab/models"}) {
    if (fs::exists(models / name, error)) return fs::weakly_canonical(models / name, error);
  }
  throw core::InputError(
      "demo: models/{}, which is shipped, was not found beside {}; name a model and prompts of your own", name.string(),
      beside.string());
}

/// The prompts of the shipped model that are short enough to look at quickly.
std::vector<fs::path> own_prompts(const fs::path& model) {
  std::set<fs::path> files;
  for (const char* length : {"512", "1024"}) {
    for (const char* task : {"needle", "multi-needle", "kv", "map", "rule", "count", "frequent", "copy", "text"}) {
      files.insert(model / "prompts" / fmt::format("{}-{}.jsonl", task, length));
    }
  }
  return {files.begin(), files.end()};
}

/// One prompt of each of the first tasks, so many at most.
std::vector<std::string> one_a_task(const PromptRequest& request, std::size_t most) {
  std::vector<std::string> ids;
  std::set<std::string> tasks;
  for (const fs::path& file : request.files) {
    std::vector<runtime::Prompt> prompts = runtime::read_prompts(file);
    if (request.limit > 0 && prompts.size() > request.limit) prompts.resize(request.limit);
    for (const runtime::Prompt& prompt : prompts) {
      if (ids.size() < most && tasks.insert(prompt.task).second) ids.push_back(prompt.id);
    }
  }
  return ids;
}

}  // namespace

DemoPlan plan_demo(const DemoOptions& options, Observer& observer) {
  constexpr std::size_t kLivePrompts = 6;
  DemoPlan plan{.model = options.model.value_or(fs::path()),
                .trace = options.out / "trace.h5",
                .policies = kDemoPolicies,
                .live_policies = kDemoLivePolicies};
  if (!options.model) plan.model = shipped("demo");
  const bool has_own = options.prompts.empty() && fs::is_directory(plan.model / "prompts");
  if (has_own) {
    plan.prompts = own_prompts(plan.model);
    plan.limit = options.prompts_per_task.value_or(2);
    plan.dtype = trace::ElementType::kFloat32;  // by which the bounds are in order to float rounding
    plan.budgets = "40,48,64,96,128,192,256,384";
    plan.live_budgets = "48,128";
  } else {
    if (options.prompts_per_task) {
      throw core::InputError("demo: --prompts-per-task is of the shipped model's own prompts");
    }
    plan.prompts = options.prompts.empty() ? std::vector{shipped("texts/prompts/demo.jsonl")} : options.prompts;
    plan.policies = kDemoChatPolicies;
    plan.budgets = "64,128,256";
    plan.live_budgets = "64,256";
  }
  if (fs::exists(plan.trace) && !options.force) {
    throw core::InputError("{}: exists already; replace it (--force) or choose another place (--out)",
                           plan.trace.string());
  }
  RecordOptions record{.model = plan.model, .prompts = {.files = plan.prompts, .limit = plan.limit}, .dry_run = true};
  record.record.tier = trace::Tier::kFull;
  record.record.dtype = plan.dtype;
  plan.recording = lab::record(record, observer);
  plan.live_prompts = one_a_task(record.prompts, kLivePrompts);
  return plan;
}

}  // namespace evictlab::lab
