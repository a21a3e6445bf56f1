#include "trace/model.hpp"

#include <algorithm>

#include "core/text.hpp"

namespace evictlab::trace {

Fields PromptInfo::recorded() const {
  const Fields fields = tier_fields(tier).without(missing) | extra;
  return gradient_draws > 0 ? fields | Field::kOutputGradients : fields;
}

namespace {

std::optional<double> plain_rope_theta(std::string_view encoding) {
  constexpr std::string_view kPlain = "rope(theta=";
  if (encoding == "none") return 0.0;
  if (!encoding.starts_with(kPlain) || !encoding.ends_with(')')) return {};
  const auto theta = core::parse_number(encoding.substr(kPlain.size(), encoding.size() - kPlain.size() - 1));
  return theta && *theta > 0.0 ? theta : std::nullopt;
}

}  // namespace

LayerShape layer_shape(const ModelInfo& model, const PromptInfo& prompt, Index layer) {
  const auto windows = static_cast<Index>(model.sliding_windows.size());
  return {.layer = layer,
          .layers = model.layers,
          .query_heads = model.query_heads,
          .kv_heads = model.kv_heads,
          .head_dim = model.head_dim,
          .prompt_length = prompt.prompt_length,
          .future_length = prompt.future_length,
          .window = prompt.window,
          .sliding_window = layer < windows ? model.sliding_windows[static_cast<std::size_t>(layer)] : 0,
          .attention_scale = model.attention_scale,
          .rope_theta = plain_rope_theta(model.position_encoding),
          .hidden_size = model.hidden_size,
          .gradient_draws = prompt.gradient_draws};
}

void MemoryTrace::add_prompt(Prompt prompt) {
  if (prompt.layers.size() != prompt.info.layers.size()) {
    throw TraceError("prompt '{}': {} layers of data for {} recorded layers", prompt.info.id, prompt.layers.size(),
                     prompt.info.layers.size());
  }
  infos_.push_back(prompt.info);
  prompts_.push_back(std::move(prompt));
}

std::vector<std::int32_t> MemoryTrace::tokens(Index prompt) const {
  return prompts_.at(static_cast<std::size_t>(prompt)).tokens;
}

LayerData MemoryTrace::layer(Index prompt, Index layer, Fields fields) const {
  const Prompt& recorded = prompts_.at(static_cast<std::size_t>(prompt));
  const auto found = std::ranges::find(recorded.info.layers, layer);
  if (found == recorded.info.layers.end()) {
    throw TraceError("prompt '{}': layer {} was not recorded", recorded.info.id, layer);
  }
  const LayerData& data = recorded.layers[static_cast<std::size_t>(found - recorded.info.layers.begin())];
  LayerData copy;
  copy.shape = layer_shape(model_, recorded.info, layer);
  for (const Field field : kAllFields) {
    if (!fields.contains(field)) continue;
    if (data[field].empty()) {
      throw TraceError("prompt '{}' layer {}: {} was not recorded", recorded.info.id, layer, field_name(field));
    }
    copy[field] = data[field];
  }
  copy.query_count = data.query_count;
  return copy;
}

RowMatrix MemoryTrace::output_weight(Index layer) const {
  if (layer < 0 || layer >= static_cast<Index>(output_weights_.size()) ||
      output_weights_[static_cast<std::size_t>(layer)].size() == 0) {
    throw TraceError("output weight of layer {} was not recorded", layer);
  }
  return output_weights_[static_cast<std::size_t>(layer)];
}

}  // namespace evictlab::trace
