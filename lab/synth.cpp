#include "lab/synth.hpp"

#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "lab/unfinished.hpp"
#include "trace/io/writer.hpp"

namespace evictlab::lab {
namespace {

void write_synthetic_prompt(const trace::SyntheticOptions& synthetic, trace::Index number, trace::TraceWriter& writer,
                            const Stage& stage, Observer& observer) {
  const trace::PromptInfo info = trace::synthetic_prompt_info(synthetic, number);
  trace::PromptWriter prompt = writer.begin_prompt(info, trace::synthetic_tokens(synthetic, number));
  trace::Index done = number * synthetic.layers;
  for (const trace::Index layer : info.layers) {
    core::throw_if_interrupted();
    prompt.write(trace::synthetic_layer(synthetic, number, layer));
    observer.progress(stage, static_cast<double>(++done), static_cast<double>(synthetic.prompts * synthetic.layers));
  }
  prompt.finish();
}

/// Writes what an interrupted run of the same options has not left.
void write_missing_prompts(const trace::SyntheticOptions& synthetic, trace::TraceWriter& writer, Observer& observer) {
  const Stage stage{"synth"};
  for (trace::Index prompt = 0; prompt < synthetic.prompts; ++prompt) {
    const trace::PromptInfo info = trace::synthetic_prompt_info(synthetic, prompt);
    if (writer.contains_alike(info, trace::synthetic_tokens(synthetic, prompt))) continue;
    write_synthetic_prompt(synthetic, prompt, writer, stage, observer);
  }
}

}  // namespace

SynthOutcome synth(const SynthOptions& options, Observer& observer) {
  const trace::SyntheticOptions& synthetic = options.synthetic;
  trace::check(synthetic);
  // The model's fingerprint says the rest.
  trace::TraceWriter writer(
      {.path = options.out, .force = options.force, .command = options.command, .can_append = false},
      trace::synthetic_model(synthetic), {{"seed", std::to_string(synthetic.seed)}});
  if (synthetic.tier == trace::Tier::kFull) {
    for (trace::Index layer = 0; layer < synthetic.layers; ++layer) {
      writer.write_output_weight(layer, trace::synthetic_output_weight(synthetic, layer));
    }
  }
  try {
    write_missing_prompts(synthetic, writer, observer);
  } catch (const core::Interrupted&) {
    throw_unfinished(writer, writer.prompts(), static_cast<std::size_t>(synthetic.prompts));
  }
  return {synthetic.prompts, writer.finish()};
}

}  // namespace evictlab::lab
