#include "lab/record.hpp"

#include <vector>

#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "core/memory.hpp"
#include "core/text.hpp"
#include "runtime/transformer.hpp"
#include "trace/io/writer.hpp"

namespace evictlab::lab {
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

/// Records what the writer does not have yet. Returns how many prompts it has then, fewer when interrupted.
std::size_t record_missing(const runtime::Transformer& model, const std::vector<runtime::TokenizedPrompt>& prompts,
                           const runtime::RecordOptions& record, trace::TraceWriter& writer, Observer& observer) {
  std::vector<const runtime::TokenizedPrompt*> missing;
  double positions = 0;
  for (const runtime::TokenizedPrompt& prompt : prompts) {
    const trace::PromptInfo info = runtime::recorded_info(prompt, model.config(), record);
    if (writer.contains_alike(info, runtime::recorded_tokens(prompt))) continue;
    missing.push_back(&prompt);
    positions += static_cast<double>(prompt.tokens.size());
  }
  std::size_t had = prompts.size() - missing.size();
  double done = 0;
  const Stage stage{"recording", "tokens"};
  try {
    for (const runtime::TokenizedPrompt* prompt : missing) {
      runtime::record_prompt(model, *prompt, record, writer, [&](double fraction) {
        core::throw_if_interrupted();
        observer.progress(stage, done + fraction * static_cast<double>(prompt->tokens.size()), positions);
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

RecordOutcome record(const RecordOptions& options, Observer& observer) {
  if (options.append && options.force) {
    throw core::InputError("record: --append keeps the trace and --force replaces it; give one of them");
  }
  if (!options.dry_run) prompt_inputs(options.prompts).add_model(options.model).refuse_early(options.out);
  runtime::RecordOptions record = options.record;
  const ModelTokenizer tokenizer(options.model);
  const std::vector<runtime::Prompt> prompts = gather_prompts(options.prompts, tokenizer);
  const runtime::Transformer model(options.model);
  if (!options.layers.empty()) record.layers = parse_layers(options.layers, model.config().layers);
  const std::vector<runtime::TokenizedPrompt> tokenized =
      tokenize_all(prompts, tokenizer, model, record, options.tokenization);

  RecordOutcome outcome{.prompts = tokenized.size(),
                        .estimate = runtime::estimate_recording(tokenized, model.config(), record),
                        .trace = {}};
  if (options.dry_run) return outcome;
  const double available = core::available_memory();
  if (outcome.estimate.memory_bytes > available && !options.any_memory) {
    throw core::InputError(
        "record: about {} of memory are needed besides the weights, {} are available; record shorter prompts, fewer "
        "--layers, a smaller --window or --tier summary, or give --any-memory to try it",
        core::format_bytes(outcome.estimate.memory_bytes), core::format_bytes(available));
  }
  trace::TraceWriter writer({.path = options.out,
                             .append = options.append,
                             .force = options.force,
                             .keep_parts = options.keep_parts,
                             .command = options.command},
                            runtime::model_info(model));
  if (record.tier == trace::Tier::kFull) {
    for (const trace::Index layer : runtime::recorded_info(tokenized.front(), model.config(), record).layers) {
      writer.write_output_weight(layer, model.output_weight(layer));
    }
  }
  for (const runtime::TokenizedPrompt& prompt : tokenized) outcome.already += writer.contains(prompt.id) ? 1 : 0;
  outcome.recorded = record_missing(model, tokenized, record, writer, observer);
  outcome.trace = writer.finish();
  return outcome;
}

}  // namespace evictlab::lab
