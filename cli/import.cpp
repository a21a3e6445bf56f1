#include "lab/import.hpp"

#include <fmt/format.h>

#include <iostream>

#include "cli/common_options.hpp"
#include "cli/console.hpp"

namespace evictlab::cli {
namespace {

void declare_import(Options& options) {
  options.positional("attention",
                     "one .npy or .safetensors file per prompt: [L, H, queries, positions], as "
                     "output_attentions gives",
                     Options::Count::kMany);
  options.value("out", "TRACE", "", "the trace to make");
  options.value("prompt-length", "N", "", "positions of the prompt; the queries after it are the future");
  options.value("future", "T", "", "the same the other way round: so many last queries are the future");
  options.value("window", "N", "64", "observation window: prompt queries kept, as far as they are there");
  options.value("kv-heads", "G", "", "kv heads per layer; without it as many as query heads");
  options.value("head-dim", "D", "128", "head dimension: what a slot's bytes are counted from");
  options.value("model", "NAME", "imported", "what the model is called");
  options.value("task", "TASK", "", "the prompts' task");
  options.flag("append", "add to the prompts that the trace holds");
  options.flag("force", "replace an existing trace");
  declare_threads(options);
}

lab::ImportOptions import_options(const Options& options) {
  lab::ImportOptions wanted{.append = options.has("append"), .force = options.has("force"), .command = command_line()};
  wanted.files = options.paths("attention");
  if (options.has("prompt-length")) wanted.prompt_length = options.integer("prompt-length", 1);
  if (options.has("future")) wanted.future = options.integer("future", 1);
  wanted.window = options.integer("window", 1);
  if (options.has("kv-heads")) wanted.kv_heads = options.integer("kv-heads", 1, 65536);
  wanted.head_dim = options.integer("head-dim", 1, 65536);
  wanted.model = options.text("model");
  wanted.task = options.optional_text("task").value_or("");
  wanted.out = options.path("out");
  return wanted;
}

/// Says what the trace cannot be used for.
void report_missing(const lab::ImportOutcome& outcome) {
  if (outcome.assumed_kv_heads) {
    std::cerr << fmt::format("import: {} kv heads, one per query head; give --kv-heads where heads share keys\n",
                             outcome.kv_heads);
  }
  if (outcome.lacks_attention_mass) {
    std::cerr << "import: not all queries are there, so policies that read attention_mass (h2o) cannot be replayed\n";
  }
  if (outcome.lacks_output_norms) {
    std::cerr << "import: without output_norms there are no bounds, and criticalkv cannot be replayed\n";
  }
}

}  // namespace

int run_import(const Arguments& arguments) {
  Options options("import", "ATTENTION ... --out TRACE --prompt-length N|--future T [OPTION ...]",
                  "Makes a trace of attention probabilities that a framework returned, so that policies can be\n"
                  "replayed on them (docs/importing.md).");
  declare_import(options);
  if (!options.parse(arguments)) return 0;
  use_threads(options);
  const lab::ImportOutcome outcome =
      on_console([&](Console& console) { return lab::import_attention(import_options(options), console); });
  report_missing(outcome);
  report_trace("imported", {outcome.prompts, outcome.already, outcome.others}, outcome.trace);
  return 0;
}

}  // namespace evictlab::cli
