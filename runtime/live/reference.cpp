#include "runtime/live/reference.hpp"

#include <algorithm>
#include <utility>

#include "runtime/gathering.hpp"
#include "runtime/repeat_pass.hpp"

namespace evictlab::runtime {
namespace {

using trace::Field;

/// Puts the fields of a layer beside those that are there.
void add_fields(trace::LayerData&& from, trace::LayerData& to) {
  to.shape = from.shape;
  for (const Field field : trace::kAllFields) {
    if (!from[field].empty()) to[field] = std::move(from[field]);
  }
}

}  // namespace

Reference::Layer Reference::layer(Index index) const {
  const trace::LayerData& data = recorded.layers[static_cast<std::size_t>(index)];
  Layer result{trace::future_view(data), trace::layer_view(data)};
  // What the running model holds, whatever precision was recorded.
  result.view.keys = cache.layer_keys(index);
  result.view.values = cache.layer_values(index);
  if (!output_weights.empty()) result.view.output_weight = &output_weights[static_cast<std::size_t>(index)];
  return result;
}

Reference read_reference(const Transformer& model, const trace::ModelInfo& info, const TokenizedPrompt& prompt,
                         const RecordOptions& options, const std::function<void(double)>& progress) {
  check_recordable(prompt, model.config(), options);
  const auto n = static_cast<Index>(prompt.tokens.size());
  Index all = n + static_cast<Index>(prompt.future.size()) + prompt.generate;
  for (const TokenizedPrompt::Followup& next : prompt.followups) {
    all += static_cast<Index>(next.given.size() + next.answer.size());
  }
  all = std::max(all, n + std::min(options.repeat_chunk, n));
  Reference reference{{recorded_info(prompt, model.config(), options), {}, {}}, model.make_cache(all), {}, {}, {}, {}};
  trace::PromptInfo& recorded = reference.recorded.info;
  std::vector<trace::LayerData>& layers = reference.recorded.layers;
  std::vector<trace::Tensor> window_queries;
  PromptGathering reading(
      model, info, recorded, {trace::kFullFields.without(kFutureFields) | Field::kQueries},
      [&](trace::LayerData&& layer) {
        window_queries.push_back(std::exchange(layer.queries, {}));
        layers.push_back(std::move(layer));
      },
      progress);
  reference.first_logits = model.forward(prompt.tokens, reference.cache, &reading);

  std::vector<std::int32_t> future =
      future_tokens(model, prompt, options.sampling, reference.first_logits, reference.cache);
  reference.cache.truncate(n);
  if (options.repeat_chunk > 0) {
    std::vector<trace::Tensor> paid =
        repeat_attention(model, recorded, prompt.tokens, options.repeat_chunk, reference.cache, progress);
    for (std::size_t i = 0; i < paid.size(); ++i) layers[i].repeat_attention = std::move(paid[i]);
  }
  recorded.future_length = static_cast<Index>(future.size());
  std::size_t next_layer = 0;
  StreamStates stream;
  FutureGathering after(
      model, info, recorded, {kFutureFields, options.dtype, options.gradients > 0 ? &stream : nullptr},
      std::move(window_queries), [&](trace::LayerData&& layer) { add_fields(std::move(layer), layers[next_layer++]); });
  reference.logits.push_back(model.forward_all(future, reference.cache, &after));
  if (options.gradients > 0) {
    recorded_gradients(model, reference.cache, stream, recorded, [&](Index layer, trace::Tensor&& gradients) {
      layers[static_cast<std::size_t>(layer)].output_gradients = std::move(gradients);
    });
  }
  reference.recorded.tokens = prompt.tokens;
  reference.recorded.tokens.insert(reference.recorded.tokens.end(), future.begin(), future.end());
  reference.turns.push_back({std::move(future), prompt.asked, prompt.answer, prompt.stop, prompt.stop_token});

  for (const TokenizedPrompt::Followup& next : prompt.followups) {
    Turn turn{next.given, static_cast<Index>(next.given.size()), next.text, next.stop, next.stop_token};
    turn.tokens.insert(turn.tokens.end(), next.answer.begin(), next.answer.end());
    reference.logits.push_back(model.forward_all(turn.tokens, reference.cache));
    reference.turns.push_back(std::move(turn));
  }
  reference.cache.truncate(n);
  return reference;
}

}  // namespace evictlab::runtime
