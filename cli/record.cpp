#include "lab/record.hpp"

#include <fmt/format.h>

#include <iostream>

#include "cli/common_options.hpp"
#include "cli/console.hpp"
#include "cli/prompt_options.hpp"
#include "core/text.hpp"

namespace evictlab::cli {
namespace {

void declare_record(Options& options) {
  declare_prompts(options);
  options.value("out", "TRACE", "", "the trace to make");
  declare_tier_and_dtype(options, "summary", "float16");
  options.value("window", "N", "64", "observation window: how many of the last prompt queries to record");
  options.value(
      "repeat-context", "N", "0",
      "also record what the model pays the prompt while it reads it again, N tokens at a time (kvzip); 0 = no");
  declare_gradients(options,
                    "full tier: also record R draws of the gradients of next-token probabilities by attention outputs, "
                    "for losses in units of KL divergence; 8 where no R is given");
  declare_tokenizing(options);
  options.value("layers", "LIST", "", "layers to record, such as 0,4-7; all by default");
  options.value("temperature", "X", "0", "of generated futures; 0 = greedy");
  options.value("top-k", "N", "0", "generate from the N most probable tokens only; 0 = all");
  options.value("top-p", "X", "1", "generate from the most probable tokens that reach this probability together");
  options.value("seed", "N", "0", "of generated futures with a temperature, and of the numbers of needles");
  declare_threads(options);
  options.flag("append", "add to an existing trace; prompts it holds are skipped");
  options.flag("force", "replace an existing trace");
  options.flag("keep-parts", "leave the parts (a file a prompt) as the trace, in TRACE.parts/");
  options.flag("dry-run", "only say how large the trace and the memory needed would be");
  options.flag("any-memory", "start even if more memory seems to be needed than is available");
}

lab::RecordOptions record_options(const Options& options) {
  if (options.number("temperature", 0, 100) == 0) {
    for (const char* name : {"top-k", "top-p"}) options.refuse(name, "needs a --temperature above 0");
    if (!options.has("needle")) options.refuse("seed", "needs a --temperature above 0, or --needle FILE");
  }
  lab::RecordOptions record;
  record.append = options.has("append");
  record.force = options.has("force");
  record.record.tier = tier_of(options);
  record.record.dtype = dtype_of(options);
  record.record.window = options.integer("window", 1, 65536);
  record.record.repeat_chunk = options.integer("repeat-context", 0, 1 << 20);
  record.record.gradients = gradients_of(options);
  if (record.record.gradients > 0 && record.record.tier == trace::Tier::kSummary) {
    options.refuse("gradients", "needs --tier full");
  }
  record.record.sampling = {.temperature = options.number("temperature", 0, 100),
                            .top_k = static_cast<std::size_t>(options.integer("top-k", 0)),
                            .top_p = options.number("top-p", 1e-6, 1),
                            .seed = static_cast<std::uint64_t>(options.integer("seed", 0))};
  record.layers = options.text_or_empty("layers");
  record.tokenization = tokenize_options(options);
  record.dry_run = options.has("dry-run");
  record.model = options.path("model");
  if (!record.dry_run) record.out = options.path("out");
  record.prompts = prompt_request(options);
  record.keep_parts = options.has("keep-parts");
  record.any_memory = options.has("any-memory");
  record.command = command_line();
  return record;
}

void print_estimate(const lab::RecordOutcome& outcome) {
  std::cout << fmt::format("prompts   {}\ntrace     {}\nmemory    {} besides the weights\n", outcome.prompts,
                           core::format_bytes(outcome.estimate.trace_bytes),
                           core::format_bytes(outcome.estimate.memory_bytes));
}

}  // namespace

int run_record(const Arguments& arguments) {
  Options options(
      "record", "--model MODEL --prompts FILE.jsonl --out TRACE [OPTION ...]",
      "Lets a model read prompts once and records its per-layer attention state to a trace.\n"
      "Interrupted or killed at any moment, it loses at most the current prompt: rerun the same command to resume.");
  declare_record(options);
  if (!options.parse(arguments)) return 0;
  use_threads(options);
  const lab::RecordOutcome outcome =
      on_console([&](Console& console) { return lab::record(record_options(options), console); });
  if (outcome.trace.empty()) {
    print_estimate(outcome);
    return 0;
  }
  report_trace("recorded", {outcome.prompts, outcome.already, outcome.others}, outcome.trace);
  return 0;
}

}  // namespace evictlab::cli
