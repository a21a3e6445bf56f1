#include "lab/synth.hpp"

#include "core/error.hpp"
#include "core/interrupt.hpp"
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

/// Returns how many prompts the writer has then, fewer when interrupted.
trace::Index write_synthetic(const trace::SyntheticOptions& synthetic, trace::TraceWriter& writer, Observer& observer) {
  trace::Index prompts = 0;
  const Stage stage{"synth"};
  try {
    for (; prompts < synthetic.prompts; ++prompts) {
      // A killed run of the same options may have left finished prompts.
      if (writer.contains(trace::synthetic_prompt_id(prompts))) continue;
      write_synthetic_prompt(synthetic, prompts, writer, stage, observer);
    }
  } catch (const core::Interrupted&) {
    if (prompts == 0) throw;  // nothing to keep
  }
  return prompts;
}

}  // namespace

SynthOutcome synth(const SynthOptions& options, Observer& observer) {
  const trace::SyntheticOptions& synthetic = options.synthetic;
  trace::check(synthetic);
  trace::TraceWriter writer({.path = options.out, .force = options.force, .command = options.command},
                            trace::synthetic_model(synthetic));
  if (synthetic.tier == trace::Tier::kFull) {
    for (trace::Index layer = 0; layer < synthetic.layers; ++layer) {
      writer.write_output_weight(layer, trace::synthetic_output_weight(synthetic, layer));
    }
  }
  const trace::Index prompts = write_synthetic(synthetic, writer, observer);
  return {prompts, writer.finish()};
}

}  // namespace evictlab::lab
