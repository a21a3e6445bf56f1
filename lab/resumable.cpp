#include "lab/resumable.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.hpp"

namespace evictlab::lab {

void run_resumable(const ResumableRun& run, PromptCheckpoint& checkpoint, Ranks& ranks, Observer& observer,
                   const std::function<void(const std::vector<std::size_t>& share)>& work,
                   const std::function<void()>& finish) {
  if (ranks.first()) checkpoint.open(run.settings, run.restart);
  ranks.let_others_begin();
  std::vector<std::size_t> left;
  for (std::size_t i = 0; i < run.prompts.size(); ++i) {
    if (!checkpoint.contains(run.prompts[i])) left.push_back(i);
  }
  if (left.size() < run.prompts.size()) {
    observer.message(Topic::kResuming, fmt::format("{} of {} prompts are finished", run.prompts.size() - left.size(),
                                                   run.prompts.size()));
  }
  ranks.wait_for_all();  // every rank has looked before any of them adds a prompt
  std::vector<std::size_t> share;
  for (std::size_t i = static_cast<std::size_t>(ranks.rank()); i < left.size();
       i += static_cast<std::size_t>(ranks.count())) {
    share.push_back(left[i]);
  }
  const bool fresh = left.size() == run.prompts.size();
  try {
    if (!share.empty()) work(share);
  } catch (const core::InputError&) {
    // Of input that no prompt could be worked on with there is nothing to resume.
    const bool none = std::ranges::none_of(run.prompts, [&](const std::string& id) { return checkpoint.contains(id); });
    if (fresh && none && ranks.count() == 1) checkpoint.remove();
    throw;
  } catch (const core::Interrupted&) {
    if (checkpoint.directory()) observer.message(Topic::kInterrupted, checkpoint.directory()->string());
    throw;
  }
  ranks.wait_for_all();
  if (ranks.first()) finish();
  ranks.wait_for_all();
}

std::string share_label(const std::string& label, const Ranks& ranks) {
  return ranks.count() > 1 ? fmt::format("{} (rank {} of {})", label, ranks.rank(), ranks.count()) : label;
}

}  // namespace evictlab::lab
