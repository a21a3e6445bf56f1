#pragma once

#include <filesystem>
#include <string>

#include "lab/observer.hpp"
#include "trace/synthetic.hpp"

namespace evictlab::lab {

struct SynthOptions {
  trace::SyntheticOptions synthetic = {};
  std::filesystem::path out = {};
  bool force = false;  // replace an existing trace
  std::string command = {};
};

struct SynthOutcome {
  trace::Index prompts = 0;
  std::filesystem::path trace;
};

/// Writes a synthetic trace, layer by layer: a long prompt's layers need not fit in memory together. Throws
/// core::Interrupted, which leaves the finished prompts in the trace's parts for the same options to resume.
SynthOutcome synth(const SynthOptions& options, Observer& observer);

}  // namespace evictlab::lab
