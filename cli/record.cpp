#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "cli/common_options.hpp"
#include "cli/prompt_options.hpp"
#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "core/memory.hpp"
#include "core/progress.hpp"
#include "core/text.hpp"
#include "runtime/prompts.hpp"
#include "runtime/recorder.hpp"
#include "runtime/transformer.hpp"

namespace evictlab::cli {
namespace {

trace::Index parse_layer(std::string_view text, trace::Index layers) {
  const auto value = core::parse_integer(core::trim(text));
  if (!value || *value < 0 || *value >= layers) {
    throw core::InputError("record: --layers takes numbers and ranges within 0..{}, got '{}'", layers - 1, text);
  }
  return static_cast<trace::Index>(*value);
}

/// "0,4-7" as an ascending list without repeats.
std::vector<trace::Index> parse_layers(const std::string& text, trace::Index layers) {
  std::vector<bool> chosen(static_cast<std::size_t>(layers), false);
  for (const std::string& item : core::split(text, ',')) {
    const auto dash = item.find('-');
    const trace::Index first = parse_layer(std::string_view(item).substr(0, dash), layers);
    const trace::Index last =
        dash == std::string::npos ? first : parse_layer(std::string_view(item).substr(dash + 1), layers);
    if (last < first) throw core::InputError("record: --layers range '{}' runs backwards", item);
    for (trace::Index layer = first; layer <= last; ++layer) chosen[static_cast<std::size_t>(layer)] = true;
  }
  std::vector<trace::Index> result;
  for (trace::Index layer = 0; layer < layers; ++layer) {
    if (chosen[static_cast<std::size_t>(layer)]) result.push_back(layer);
  }
  return result;
}

void declare(Options& options) {
  declare_prompts(options);
  options.value("out", "TRACE", "", "the trace to make");
  declare_tier_and_dtype(options, "summary", "float16");
  options.value("window", "N", "64", "observation window: how many of the last prompt queries to record");
  declare_tokenizing(options);
  options.value("layers", "LIST", "", "layers to record, such as 0,4-7; all by default");
  options.value("temperature", "X", "0", "of generated futures; 0 = greedy");
  options.value("top-k", "N", "0", "generate from the N most probable tokens only; 0 = all");
  options.value("top-p", "X", "1", "generate from the most probable tokens that reach this probability together");
  options.value("seed", "N", "0", "of generated futures");
  declare_threads(options);
  options.flag("append", "add to an existing trace; prompts it holds are skipped");
  options.flag("force", "replace an existing trace");
  options.flag("keep-parts", "leave the parts (a file a prompt) as the trace, in TRACE.parts/");
  options.flag("dry-run", "only say how large the trace and the memory needed would be");
  options.flag("any-memory", "start even if more memory seems to be needed than is available");
}

/// What the options ask for, but for the layers, which only the model can check.
runtime::RecordOptions record_options(const Options& options) {
  runtime::RecordOptions record;
  record.tier = tier_of(options);
  record.dtype = dtype_of(options);
  record.window = options.integer("window", 1, 65536);
  record.sampling = {.temperature = options.number("temperature", 0, 100),
                     .top_k = static_cast<std::size_t>(options.integer("top-k", 0)),
                     .top_p = options.number("top-p", 1e-6, 1),
                     .seed = static_cast<std::uint64_t>(options.integer("seed", 0))};
  return record;
}

/// Records what the writer does not have yet. Returns how many prompts it has then; stops early at Ctrl-C.
std::size_t record_missing(const runtime::Transformer& model, const std::vector<runtime::TokenizedPrompt>& prompts,
                           const runtime::RecordOptions& record, trace::TraceWriter& writer) {
  std::vector<const runtime::TokenizedPrompt*> missing;
  double positions = 0;
  for (const runtime::TokenizedPrompt& prompt : prompts) {
    const trace::PromptInfo info = runtime::recorded_info(prompt, model.config(), record);
    if (writer.contains_alike(info, runtime::recorded_tokens(prompt))) continue;
    missing.push_back(&prompt);
    positions += static_cast<double>(prompt.tokens.size());
  }
  std::size_t had = prompts.size() - missing.size();
  core::Progress progress("recording", positions, "tokens");
  double done = 0;
  try {
    for (const runtime::TokenizedPrompt* prompt : missing) {
      runtime::record_prompt(model, *prompt, record, writer, [&](double fraction) {
        core::throw_if_interrupted();
        progress.advance_to(done + fraction * static_cast<double>(prompt->tokens.size()));
      });
      done += static_cast<double>(prompt->tokens.size());
      ++had;
    }
  } catch (const core::Interrupted&) {
    if (had == 0) throw;  // nothing to keep
  }
  return had;
}

}  // namespace

int run_record(const Arguments& arguments) {
  Options options("record", "--model DIR --prompts FILE.jsonl --out TRACE [OPTION ...]",
                  "Lets a model read prompts once and records its per-layer attention state to a trace.\n"
                  "Killed at any moment, it loses at most the prompt it was in: give the same command again to go on.");
  declare(options);
  if (!options.parse(arguments)) return 0;
  if (options.has("append") && options.has("force")) {
    throw core::InputError("record: --append keeps the trace and --force replaces it; give one of them");
  }
  use_threads(options);
  runtime::RecordOptions record = record_options(options);
  const runtime::TokenizeOptions tokenization = tokenize_options(options);
  const bool dry_run = options.has("dry-run");
  const std::filesystem::path directory = options.path("model");
  const std::filesystem::path out = dry_run ? std::filesystem::path() : options.path("out");
  const lab::ModelTokenizer tokenizer(directory);
  const std::vector<runtime::Prompt> prompts = lab::gather_prompts(prompt_request(options), tokenizer);
  const runtime::Transformer model(directory);
  if (options.has("layers")) record.layers = parse_layers(options.text("layers"), model.config().layers);
  const std::vector<runtime::TokenizedPrompt> tokenized =
      lab::tokenize_all(prompts, tokenizer, model, record, tokenization);

  const runtime::RecordEstimate estimate = runtime::estimate_recording(tokenized, model.config(), record);
  if (dry_run) {
    std::cout << fmt::format("prompts   {}\ntrace     {}\nmemory    {} besides the weights\n", tokenized.size(),
                             core::format_bytes(estimate.trace_bytes), core::format_bytes(estimate.memory_bytes));
    return 0;
  }

  const double available = core::available_memory();
  if (estimate.memory_bytes > available && !options.has("any-memory")) {
    throw core::InputError(
        "record: about {} of memory are needed besides the weights, {} are available; record shorter prompts, fewer "
        "--layers, a smaller --window or --tier summary, or give --any-memory to try it",
        core::format_bytes(estimate.memory_bytes), core::format_bytes(available));
  }

  trace::TraceWriter writer({.path = out,
                             .append = options.has("append"),
                             .force = options.has("force"),
                             .keep_parts = options.has("keep-parts"),
                             .command = command_line()},
                            runtime::model_info(model));
  if (record.tier == trace::Tier::kFull) {
    for (const trace::Index layer : runtime::recorded_info(tokenized.front(), model.config(), record).layers) {
      writer.write_output_weight(layer, model.output_weight(layer));
    }
  }
  std::size_t already = 0;
  for (const runtime::TokenizedPrompt& prompt : tokenized) already += writer.contains(prompt.id) ? 1 : 0;
  const std::size_t recorded = record_missing(model, tokenized, record, writer);
  const std::filesystem::path made = writer.finish();
  const bool stopped = recorded < tokenized.size();
  std::cerr << fmt::format("{} {} of {} prompts{} in {}\n", stopped ? "interrupted:" : "recorded", recorded,
                           tokenized.size(), already > 0 ? fmt::format(" ({} were there already)", already) : "",
                           made.string());
  if (stopped) throw core::Interrupted();
  return 0;
}

}  // namespace evictlab::cli
