#pragma once

#include <filesystem>
#include <vector>

#include "sim/policy/imported.hpp"
#include "trace/model.hpp"

// Reads scores, budgets and kept sets from files, of methods that are not part of this program (docs/importing.md has
// the formats).

namespace evictlab::lab {

/// HDF5, /prompts/<id>/layers/<l>/scores [heads, n] (floating point), or /layers/<l>/scores for a trace of one prompt.
/// heads = H, G or 1 says who has a kept set. Checks that every layer of the trace is there.
std::shared_ptr<const sim::ImportedScores> read_scores(const std::filesystem::path& path, const trace::Source& trace);

/// JSON {"format": "evictlab-budgets", "layers": [[positions per kept set], ...]}, one entry per layer of the model, or
/// for single prompts {"prompts": {"<id>": {"layers": ...}}}; or HDF5 with /budgets [L, sets], /prompts/<id>/budgets.
std::shared_ptr<const sim::ImportedBudgets> read_budgets(const std::filesystem::path& path, const trace::Source& trace);

/// What `replay --kept` wrote, as policies that keep just that: one per policy and budget in the file.
struct KeptRun {
  sim::Policy policy;
  std::string budget;  // as the run that kept it requested it
};
std::vector<KeptRun> read_kept(const std::filesystem::path& path, const trace::Source& trace);

}  // namespace evictlab::lab
