#pragma once

#include <filesystem>
#include <string>

#include "lab/observer.hpp"
#include "lab/prompt_sources.hpp"

namespace evictlab::lab {

struct RecordOptions {
  std::filesystem::path model = {};
  PromptRequest prompts = {};
  runtime::TokenizeOptions tokenization = {};
  runtime::RecordOptions record = {};  // what of each layer; `layers` replaces its list of layers
  std::string layers = {};             // "0,4-7": the layers to record; empty: all

  std::filesystem::path out = {};
  bool append = false;      // to an existing trace; prompts it holds are skipped
  bool force = false;       // replace an existing trace
  bool keep_parts = false;  // leave the parts, a file a prompt, as the trace
  bool any_memory = false;  // start even if more memory seems to be needed than is available
  bool dry_run = false;     // only estimate
  std::string command = {};
};

struct RecordOutcome {
  std::size_t prompts = 0;
  std::size_t already = 0;  // of them, recorded before
  std::size_t others = 0;   // that the trace holds besides
  runtime::RecordEstimate estimate;
  std::filesystem::path trace;  // empty after a dry run
};

/// Lets a model read prompts once and records its attention state to a trace. Throws core::InputError, and
/// core::Interrupted, which leaves the recorded prompts in the trace's parts for the same options to resume.
RecordOutcome record(const RecordOptions& options, Observer& observer);

}  // namespace evictlab::lab
