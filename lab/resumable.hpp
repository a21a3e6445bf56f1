#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lab/checkpoint.hpp"
#include "lab/observer.hpp"
#include "lab/ranks.hpp"

namespace evictlab::lab {

/// Prompts that the ranks of a job share out, each kept in a checkpoint as soon as it is finished.
struct ResumableRun {
  std::vector<std::string> prompts = {};  // ids
  nlohmann::ordered_json settings = {};   // everything that the results depend on
  bool restart = false;                   // forget what an earlier run finished
};

/// Opens the checkpoint, lets `work` do this rank's share of the prompts that are left (indices, ascending; not called
/// with none), waits for the other ranks, and lets the first rank `finish`. Every rank calls it and returns together
/// with the others. When `work` is interrupted, says where finished prompts are kept and throws on.
void run_resumable(const ResumableRun& run, PromptCheckpoint& checkpoint, Ranks& ranks, Observer& observer,
                   const std::function<void(const std::vector<std::size_t>& share)>& work,
                   const std::function<void()>& finish);

/// "sweeping", or "sweeping (rank 0 of 4)".
std::string share_label(const std::string& label, const Ranks& ranks);

}  // namespace evictlab::lab
