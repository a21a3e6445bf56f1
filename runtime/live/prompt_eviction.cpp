#include "runtime/live/prompt_eviction.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace evictlab::runtime {

sim::Needs live_needs(std::span<const sim::Policy> policies) {
  sim::Needs all;
  for (const sim::Policy& policy : policies) {
    const sim::Needs needs = policy.needs();
    if (needs.future || (policy.decoding && policy.decoding->needs_future())) {
      throw sim::PolicyError("policy '{}' reads the future, which a running model does not know", policy.label());
    }
    all.fields |= needs.fields;
    all.window_rows = std::max(all.window_rows, needs.window_rows);
    all.output_weight = all.output_weight || needs.output_weight;
  }
  return all;
}

trace::PromptInfo live_prompt(Index prompt_length, const sim::Needs& needs, Index layers) {
  trace::PromptInfo prompt;
  prompt.prompt_length = prompt_length;
  prompt.tier = trace::Tier::kFull;
  prompt.window = needs.window_rows;
  prompt.layers.resize(static_cast<std::size_t>(layers));
  std::iota(prompt.layers.begin(), prompt.layers.end(), Index{0});
  return prompt;
}

trace::LayerView live_view(const trace::LayerData& gathered, const KvCache& cache) {
  trace::LayerView view = trace::layer_view(gathered);
  view.keys = cache.layer_keys(gathered.shape.layer);
  view.values = cache.layer_values(gathered.shape.layer);
  return view;
}

namespace {

// What decides while decoding are attention rows, for which replay needs recorded queries and a running model does not.
trace::Fields gathered_fields(const sim::Policy& policy) {
  const trace::Fields fields = policy.needs().fields.without(trace::Field::kQueries);
  return policy.prompt_needs().fields.contains(trace::Field::kQueries) ? fields | trace::Field::kQueries : fields;
}

}  // namespace

PromptEviction::PromptEviction(const Transformer& model, const trace::ModelInfo& info, const sim::Policy& policy,
                               double slots, Index prompt_length, KvCache& cache)
    : model_(model),
      policy_(policy),
      cache_(cache),
      prompt_(live_prompt(prompt_length, live_needs({&policy, 1}), info.layers)),
      eviction_(policy, info.layers, slots),
      gathering_(model, info, prompt_, {gathered_fields(policy)},
                 [this](trace::LayerData&& layer) { take(std::move(layer)); }) {}

void PromptEviction::take(trace::LayerData&& layer) {
  trace::LayerView view = live_view(layer, cache_);
  trace::RowMatrix output_weight;
  if (policy_.needs().output_weight) {
    output_weight = model_.output_weight(layer.shape.layer);
    view.output_weight = &output_weight;
  }
  eviction_.observe(view, sim::score_layer(policy_, view), cache_);
  trace::LayerData rest;
  rest.shape = layer.shape;
  if (policy_.decoding) rest.attention_mass = std::move(layer.attention_mass);
  gathered_.push_back(std::move(rest));
}

}  // namespace evictlab::runtime
