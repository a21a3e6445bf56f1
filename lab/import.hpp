#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lab/observer.hpp"
#include "trace/model.hpp"

namespace evictlab::lab {

struct ImportOptions {
  std::vector<std::filesystem::path> files = {};   // one per prompt: .npy or .safetensors [L, H, queries, positions]
  std::optional<trace::Index> prompt_length = {};  // this, or
  std::optional<trace::Index> future = {};         // so many last queries: says which queries are the future
  trace::Index window = 64;                        // prompt queries kept, as far as they are there
  std::optional<trace::Index> kv_heads = {};       // per layer; none: as many as query heads
  trace::Index head_dim = 128;                     // what a slot's bytes are counted from
  std::string model = "imported";                  // its name
  std::string task = {};

  std::filesystem::path out = {};
  bool append = false;  // to an existing trace; prompts it holds are skipped
  bool force = false;   // replace an existing trace
  std::string command = {};
};

struct ImportOutcome {
  std::size_t prompts = 0;
  std::size_t already = 0;  // of them, imported before
  std::size_t others = 0;   // that the trace holds besides
  std::filesystem::path trace;
  trace::Index kv_heads = 0;
  bool assumed_kv_heads = false;      // one per query head, where there are several
  bool lacks_attention_mass = false;  // of some prompt, since not all queries are there
  bool lacks_output_norms = false;    // of some prompt
};

/// Makes a trace of attention probabilities that a framework returned (docs/importing.md). Throws core::InputError, and
/// core::Interrupted, which leaves the imported prompts in the trace's parts for the same options to resume.
ImportOutcome import_attention(const ImportOptions& options, Observer& observer);

}  // namespace evictlab::lab
