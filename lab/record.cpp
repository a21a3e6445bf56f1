#include "lab/record.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "core/memory.hpp"
#include "core/text.hpp"
#include "lab/unfinished.hpp"
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

/// Records what the writer does not have yet. Returns how many prompts it had.
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
  const std::size_t had = prompts.size() - missing.size();
  std::size_t recorded = had;
  double done = 0;
  const Stage stage{"recording", "tokens"};
  try {
    for (const runtime::TokenizedPrompt* prompt : missing) {
      runtime::record_prompt(model, *prompt, record, writer, [&](double fraction) {
        core::throw_if_interrupted();
        observer.progress(stage, done + fraction * static_cast<double>(prompt->tokens.size()), positions);
      });
      done += static_cast<double>(prompt->tokens.size());
      ++recorded;
    }
  } catch (const core::Interrupted&) {
    throw_unfinished(writer, recorded, prompts.size());
  }
  return had;
}

/// Says how many generated futures have fewer tokens than were asked for.
void report_short_futures(const std::vector<runtime::TokenizedPrompt>& prompts, const trace::TraceWriter& writer,
                          Observer& observer) {
  std::size_t generated = 0;
  std::size_t ended = 0;
  trace::Index shortest = 0;
  for (const runtime::TokenizedPrompt& prompt : prompts) {
    if (prompt.generate == 0) continue;
    ++generated;
    const trace::Index tokens = writer.find(prompt.id)->future_length - static_cast<trace::Index>(prompt.future.size());
    if (tokens >= prompt.generate) continue;
    shortest = ended++ == 0 ? tokens : std::min(shortest, tokens);
  }
  if (ended == 0) return;
  observer.message(Topic::kNote,
                   fmt::format("{} of {} generated futures end before the tokens asked for, where the model ends the "
                               "text; the shortest has {}",
                               ended, generated, shortest));
}

/// Says how many prompts have fewer queries than were to be recorded.
void report_short_prompts(const std::vector<runtime::TokenizedPrompt>& prompts, trace::Index window,
                          Observer& observer) {
  const auto is_short = [window](const auto& prompt) { return std::cmp_less(prompt.tokens.size(), window); };
  const auto count = std::ranges::count_if(prompts, is_short);
  if (count == 0) return;
  observer.message(Topic::kNote, fmt::format("{} of {} prompts are shorter than the window of {}: all of their queries "
                                             "are recorded, and policies that read more do not run on them",
                                             count, prompts.size(), window));
}

void require_used_sampling(const runtime::SamplingOptions& sampling,
                           const std::vector<runtime::TokenizedPrompt>& prompts) {
  const auto generates = [](const runtime::TokenizedPrompt& prompt) { return prompt.generate > 0; };
  if (sampling.temperature == 0 || std::ranges::any_of(prompts, generates)) return;
  throw core::InputError(
      "record: --temperature is of generated futures, but every prompt's future is its answer; give --future N");
}

void require_memory(const runtime::RecordEstimate& estimate, bool any_memory) {
  const double available = core::available_memory();
  if (estimate.memory_bytes <= available || any_memory) return;
  throw core::InputError(
      "record: about {} of memory are needed besides the weights, {} are available; record shorter prompts, fewer "
      "--layers, a smaller --window or --tier summary, or give --any-memory to try it",
      core::format_bytes(estimate.memory_bytes), core::format_bytes(available));
}

std::string future_text(const runtime::FutureRule& rule) {
  using Kind = runtime::FutureRule::Kind;
  switch (rule.kind) {
    case Kind::kAuto:
      return "auto";
    case Kind::kAnswer:
      return "answer";
    case Kind::kAllowed:
      return "allowed";
    case Kind::kGenerate:
      break;
  }
  return std::to_string(rule.count);
}

/// What decides the recording besides model and prompts, by the options' names; only what has an effect.
trace::Settings recording_settings(const runtime::RecordOptions& record, const RecordOptions& options,
                                   trace::Index layers) {
  const runtime::TokenizeOptions& tokenization = options.tokenization;
  const bool at_context = tokenization.evict_at == runtime::EvictAt::kContext;
  const bool all_layers = record.layers.empty() || std::cmp_equal(record.layers.size(), layers);
  trace::Settings settings = {{"tier", std::string(trace::tier_name(record.tier))},
                              {"window", std::to_string(record.window)},
                              {"layers", all_layers ? "all" : fmt::format("{}", fmt::join(record.layers, ","))},
                              {"future", future_text(tokenization.future)},
                              {"max-positions", std::to_string(tokenization.max_positions)},
                              {"evict-at", at_context ? "context" : "prompt"},
                              {"special-tokens", tokenization.add_special_tokens ? "yes" : "no"},
                              {"temperature", fmt::format("{}", record.sampling.temperature)}};
  if (record.tier == trace::Tier::kFull) {
    settings["dtype"] = record.dtype == trace::ElementType::kFloat16 ? "float16" : "float32";
    settings["gradients"] = std::to_string(record.gradients);
  }
  if (record.repeat_chunk > 0) settings["repeat-context"] = std::to_string(record.repeat_chunk);
  if (options.prompts.chat) settings["chat"] = "yes";
  if (!options.prompts.thinking) settings["thinking"] = "no";
  if (record.sampling.temperature > 0) {
    settings["top-k"] = std::to_string(record.sampling.top_k);
    settings["top-p"] = fmt::format("{}", record.sampling.top_p);
    settings["seed"] = std::to_string(record.sampling.seed);
  }
  return settings;
}

}  // namespace

RecordOutcome record(const RecordOptions& options, Observer& observer) {
  if (options.append && options.force) {
    throw core::InputError("record: --append keeps the trace and --force replaces it; give one of them");
  }
  if (!options.dry_run) prompt_inputs(options.prompts).add_model(options.model).refuse_early(options.out);
  runtime::RecordOptions record = options.record;
  // First, or a model that is not there would be said to lack a chat template.
  const runtime::ModelConfig config = runtime::read_model_config(options.model);
  const ModelTokenizer tokenizer(options.model);
  const std::vector<runtime::Prompt> prompts = gather_prompts(options.prompts, tokenizer);
  if (!options.layers.empty()) record.layers = parse_layers(options.layers, config.layers);
  const std::vector<runtime::TokenizedPrompt> tokenized =
      tokenize_all(prompts, tokenizer, config, record, options.tokenization);
  require_used_sampling(record.sampling, tokenized);
  report_short_prompts(tokenized, record.window, observer);

  RecordOutcome outcome{
      .prompts = tokenized.size(), .estimate = runtime::estimate_recording(tokenized, config, record), .trace = {}};
  if (options.dry_run) return outcome;
  // After what is quick to find wrong, before the weights, whose reading takes minutes.
  trace::TracePlace place({.path = options.out,
                           .append = options.append,
                           .force = options.force,
                           .keep_parts = options.keep_parts,
                           .command = options.command});
  const runtime::Transformer model = open_model(options.model, observer);
  require_memory(outcome.estimate, options.any_memory);
  trace::TraceWriter writer(std::move(place), runtime::model_info(model),
                            recording_settings(record, options, config.layers));
  if (record.tier == trace::Tier::kFull) {
    for (const trace::Index layer : runtime::recorded_info(tokenized.front(), model.config(), record).layers) {
      writer.write_output_weight(layer, model.output_weight(layer));
    }
  }
  outcome.already = record_missing(model, tokenized, record, writer, observer);
  report_short_futures(tokenized, writer, observer);
  outcome.trace = writer.finish();
  outcome.others = writer.prompts() - tokenized.size();
  return outcome;
}

}  // namespace evictlab::lab
