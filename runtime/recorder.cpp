#include "runtime/recorder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/random.hpp"
#include "runtime/gathering.hpp"
#include "runtime/kv_cache.hpp"
#include "runtime/repeat_pass.hpp"

namespace evictlab::runtime {
namespace {

using trace::ElementType;
using trace::Field;
using trace::Index;
using trace::Tensor;

/// The layers to record, ascending.
std::vector<Index> recorded_layers(const ModelConfig& model, const RecordOptions& options) {
  if (!options.layers.empty()) return options.layers;
  std::vector<Index> all(static_cast<std::size_t>(model.layers));
  std::iota(all.begin(), all.end(), Index{0});
  return all;
}

void write_fields(trace::PromptWriter& writer, const trace::LayerData& layer) {
  for (const Field field : trace::kAllFields) {
    if (!layer[field].empty()) writer.write(layer.shape.layer, field, layer[field]);
  }
  if (layer.query_count > 0) writer.set_query_count(layer.shape.layer, layer.query_count);
}

/// The backward pass of `draws` gradients over `future` of `all` positions: the stream's states of every layer,
/// gradients by stream, queries, keys and values, those over the vocabulary and the MLP's width with as many numbers
/// again in the order of a product, and a block of queries' rows for every kv head.
double gradient_bytes(const ModelConfig& model, double future, double all, double draws) {
  const auto hidden = static_cast<double>(model.hidden_size);
  const auto heads = static_cast<double>(model.query_heads + model.kv_heads) * static_cast<double>(model.head_dim);
  const double wide = std::max(std::max(512.0, draws) * static_cast<double>(model.vocab_size),
                               3 * std::max(1024.0, future) * static_cast<double>(model.intermediate_size));
  return 4 * (2 * static_cast<double>(model.layers) * future * hidden + draws * future * (4 * hidden + 2 * heads) +
              2 * wide + static_cast<double>(model.kv_heads) * 2 * 64 * all);
}

/// How a prompt too long for the model could be recorded.
std::string advice_for_long(const TokenizedPrompt& prompt, Index model_positions) {
  // What is asked after the context is cut with the prompt.
  const Index positions = static_cast<Index>(prompt.tokens.size()) + prompt.asked;
  const Index room = model_positions - (static_cast<Index>(prompt.future.size()) - prompt.asked) - prompt.generate;
  if (room < 1) return "give a shorter future";
  if (const trace::Span* lost = span_lost_by_cutting(prompt.spans, positions, room)) {
    return fmt::format("cutting the middle would cut its span '{}', so give a shorter prompt ({})", lost->name,
                       lost->name == "needle" ? "with --needle: shorter --needle-lengths" : "or a shorter future");
  }
  return fmt::format("--max-positions {} cuts the middle", room);
}

}  // namespace

void check_recordable(const TokenizedPrompt& prompt, const ModelConfig& model, const RecordOptions& options) {
  const auto n = static_cast<Index>(prompt.tokens.size());
  const auto future = static_cast<Index>(prompt.future.size()) + prompt.generate;
  if (n < 1) throw RecordError("prompt '{}' ({}): is empty", prompt.id, prompt.source);
  if (options.tier == trace::Tier::kFull && n <= trace::kFirstStatisticsPosition) {
    throw RecordError("prompt '{}' ({}): has {} positions; the full tier needs more than {}", prompt.id, prompt.source,
                      n, trace::kFirstStatisticsPosition);
  }
  if (future < 1) throw RecordError("prompt '{}' ({}): has no future; its answer is empty", prompt.id, prompt.source);
  if (future >= model.max_positions) {
    throw RecordError("prompt '{}' ({}): {} future positions exceed the model's {}; a smaller --future fits", prompt.id,
                      prompt.source, future, model.max_positions);
  }
  if (n + future > model.max_positions) {
    throw RecordError("prompt '{}' ({}): {} positions and {} future ones exceed the model's {}; {}", prompt.id,
                      prompt.source, n, future, model.max_positions, advice_for_long(prompt, model.max_positions));
  }
  if (n + std::min(options.repeat_chunk, n) > model.max_positions) {
    throw RecordError("prompt '{}' ({}): {} positions and {} repeated ones exceed the model's {}; {}", prompt.id,
                      prompt.source, n, std::min(options.repeat_chunk, n), model.max_positions,
                      n < model.max_positions ? fmt::format("--repeat-context {} fits", model.max_positions - n)
                                              : "give a shorter prompt");
  }
  for (const auto* tokens : {&prompt.tokens, &prompt.future}) {
    for (const std::int32_t token : *tokens) {
      if (token < 0 || token >= model.vocab_size) {
        throw RecordError("prompt '{}' ({}): token id {} is not in the model's vocabulary of {}", prompt.id,
                          prompt.source, token, model.vocab_size);
      }
    }
  }
}

trace::PromptInfo recorded_info(const TokenizedPrompt& prompt, const ModelConfig& model, const RecordOptions& options) {
  const bool generated = prompt.generate > 0;
  return {.id = prompt.id,
          .task = prompt.task,
          .source = prompt.source,
          .prompt_length = static_cast<Index>(prompt.tokens.size()),
          .future_length = generated ? 0 : static_cast<Index>(prompt.future.size()),
          .future_kind = generated ? "generated" : "teacher-forced",
          .tier = options.tier,
          .window = std::min(options.window, static_cast<Index>(prompt.tokens.size())),
          .layers = recorded_layers(model, options),
          .spans = prompt.spans,
          .extra = options.repeat_chunk > 0 ? trace::Fields(Field::kRepeatAttention) : trace::Fields(),
          .document = prompt.document,
          .gradient_draws = options.gradients};
}

std::vector<std::int32_t> recorded_tokens(const TokenizedPrompt& prompt) {
  std::vector<std::int32_t> tokens = prompt.tokens;
  if (prompt.generate == 0) tokens.insert(tokens.end(), prompt.future.begin(), prompt.future.end());
  return tokens;
}

std::vector<std::int32_t> future_tokens(const Transformer& model, const TokenizedPrompt& prompt,
                                        const SamplingOptions& sampling, std::vector<float> logits, KvCache& cache) {
  std::vector<std::int32_t> future = prompt.future;
  if (prompt.generate == 0) return future;
  if (!future.empty()) logits = model.forward(future, cache, nullptr);
  SamplingOptions own = sampling;
  own.seed ^= core::text_hash(prompt.id);  // so that other prompts do not matter
  Sampler sampler(own);
  const std::vector<std::int32_t> generated =
      generate(model, cache, std::move(logits), static_cast<std::size_t>(prompt.generate), sampler);
  future.insert(future.end(), generated.begin(), generated.end());
  const bool ended =
      std::ranges::find(model.config().eos_token_ids, future.back()) != model.config().eos_token_ids.end();
  if (ended && future.size() > 1) future.pop_back();
  return future;
}

void record_prompt(const Transformer& model, const TokenizedPrompt& prompt, const RecordOptions& options,
                   trace::TraceWriter& writer, const std::function<void(double)>& progress) {
  check_recordable(prompt, model.config(), options);
  const auto n = static_cast<Index>(prompt.tokens.size());
  trace::PromptInfo info = recorded_info(prompt, model.config(), options);
  trace::PromptWriter prompt_writer = writer.begin_prompt(info, recorded_tokens(prompt));
  const Index asked = static_cast<Index>(prompt.future.size()) + prompt.generate;
  KvCache cache = model.make_cache(n + std::max(asked, std::min(options.repeat_chunk, n)));

  const trace::ModelInfo model_described = model_info(model, "");
  const trace::Fields fields = trace::tier_fields(options.tier);
  const trace::Fields prompt_fields = fields.without(kFutureFields);
  const bool full = options.tier == trace::Tier::kFull;
  std::vector<Tensor> window_queries;  // of each recorded layer; full tier only
  PromptGathering prompt_pass(
      model, model_described, info, {full ? prompt_fields | Field::kQueries : prompt_fields},
      [&](trace::LayerData&& layer) {
        window_queries.push_back(std::exchange(layer.queries, {}));
        write_fields(prompt_writer, layer);
      },
      progress);
  std::vector<float> logits = model.forward(prompt.tokens, cache, &prompt_pass);

  const std::vector<std::int32_t> future = future_tokens(model, prompt, options.sampling, std::move(logits), cache);
  if (prompt.generate > 0) prompt_writer.set_future(future);

  cache.truncate(n);
  if (options.repeat_chunk > 0) {
    const std::vector<Tensor> paid =
        repeat_attention(model, info, prompt.tokens, options.repeat_chunk, cache, [&](double) { progress(1.0); });
    for (std::size_t i = 0; i < paid.size(); ++i) prompt_writer.write(info.layers[i], Field::kRepeatAttention, paid[i]);
  }
  // Generated or given, the future is read as one chunk from the end of the prompt: one way to record it.
  info.future_length = static_cast<Index>(future.size());
  StreamStates stream;
  FutureGathering future_pass(
      model, model_described, info, {fields, options.dtype, options.gradients > 0 ? &stream : nullptr},
      std::move(window_queries), [&](trace::LayerData&& layer) { write_fields(prompt_writer, layer); });
  model.forward(future, cache, &future_pass);
  if (options.gradients > 0) {
    recorded_gradients(model, cache, stream, info, [&](Index layer, const Tensor& gradients) {
      prompt_writer.write(layer, Field::kOutputGradients, gradients);
    });
  }
  prompt_writer.finish();
}

RecordEstimate estimate_recording(const std::vector<TokenizedPrompt>& prompts, const ModelConfig& model,
                                  const RecordOptions& options) {
  const auto heads = static_cast<double>(model.query_heads);
  const auto kv_heads = static_cast<double>(model.kv_heads);
  const auto dimension = static_cast<double>(model.head_dim);
  const auto layers = static_cast<double>(recorded_layers(model, options).size());
  const auto hidden_size = static_cast<double>(model.hidden_size);
  const double state_bytes = options.dtype == ElementType::kFloat16 ? 2 : 4;
  const bool full = options.tier == trace::Tier::kFull;
  RecordEstimate estimate;
  for (const TokenizedPrompt& prompt : prompts) {
    const auto n = static_cast<double>(prompt.tokens.size());
    const double window = std::min(static_cast<double>(options.window), n);
    const auto all = n + static_cast<double>(prompt.future.size()) + static_cast<double>(prompt.generate);
    const double summary = heads * (2 * window * n + 4 * n + 8 * all);
    const double states = state_bytes * (heads * (window + all - n) * dimension + 2 * kv_heads * all * dimension) +
                          4 * heads * dimension * (dimension + 1);
    const double residual = 3 * 4 * (all - n);
    const double gradients = 2 * static_cast<double>(options.gradients) * (all - n) * hidden_size;
    estimate.trace_bytes += layers * (full ? summary + states + residual + gradients : summary) + 4 * all;
    if (options.repeat_chunk > 0) estimate.trace_bytes += layers * 4 * kv_heads * n;

    // The model's float cache, one layer's hidden states and rows, and the window's queries of every layer.
    const double cache = static_cast<double>(model.layers) * 2 * kv_heads * all * dimension * 4;
    const double hidden = 4 * n *
                          (4 * static_cast<double>(model.hidden_size) + static_cast<double>(model.intermediate_size) +
                           2 * (heads + 2 * kv_heads) * dimension);
    const double buffers = summary + (full ? states + layers * heads * window * dimension * 4 : 0);
    estimate.memory_bytes = std::max(estimate.memory_bytes, cache + hidden + buffers);
    if (options.gradients == 0) continue;
    estimate.memory_bytes = std::max(
        estimate.memory_bytes, cache + gradient_bytes(model, all - n, all, static_cast<double>(options.gradients)));
  }
  if (full) {
    estimate.trace_bytes += 4 * layers * heads * dimension * static_cast<double>(model.hidden_size);
  }
  return estimate;
}

}  // namespace evictlab::runtime
