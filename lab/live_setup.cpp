#include "lab/live_setup.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/hash.hpp"
#include "core/version.hpp"
#include "runtime/prompts/shared_text.hpp"
#include "runtime/repeat_pass.hpp"

namespace evictlab::lab {

std::vector<sim::Policy> live_policies(const PolicyRequest& request, Observer& observer) {
  const auto why_not = [](const sim::Policy& policy) -> std::optional<std::string> {
    if (!policy.decoding || !policy.decoding->needs_future()) return std::nullopt;
    return fmt::format("policy '{}' evicts by the future while it decodes, which a running model does not know",
                       policy.label());
  };
  return selected_policies(make_policies(request, observer), why_not, observer);
}

std::vector<sim::Policy> with_full(std::vector<sim::Policy> policies) {
  const bool has_full = std::ranges::any_of(policies, [](const sim::Policy& one) { return one.name == "full"; });
  if (!has_full) policies.insert(policies.begin(), sim::make_policy("full"));
  return policies;
}

runtime::Detokenizer detokenizer(const std::vector<runtime::Prompt>& prompts, const ModelTokenizer& tokenizer) {
  if (!is_tokenized(prompts)) {
    const runtime::TextTokenizer* known = &tokenizer.get();
    return {[known](std::span<const std::int32_t> ids) { return known->decode(ids, true); },
            [known](std::span<const std::int32_t> ids) { return known->decode(ids, false); }};
  }
  const auto numbers = [](std::span<const std::int32_t> ids) { return fmt::format("{}", fmt::join(ids, " ")); };
  return {numbers, numbers};
}

void merge_documents(std::vector<runtime::TokenizedPrompt>& prompts, Observer& observer) {
  const std::vector<runtime::SharedText> shared = runtime::merge_documents_by_text(prompts);
  if (shared.empty()) return;
  const runtime::SharedText& one = shared.front();
  observer.message(Topic::kNote,
                   fmt::format("{} and {} share {} consecutive tokens of their context{}: they count as one document",
                               one.first, one.second, one.tokens,
                               shared.size() > 1 ? fmt::format(", and so do {} other pairs", shared.size() - 1) : ""));
}

trace::MemoryTrace described_prompts(const trace::ModelInfo& info, const std::vector<runtime::TokenizedPrompt>& prompts,
                                     const runtime::Transformer& model, const runtime::RecordOptions& record) {
  trace::MemoryTrace trace(info);
  for (const runtime::TokenizedPrompt& prompt : prompts) {
    trace::PromptInfo described = runtime::recorded_info(prompt, model.config(), record);
    if (prompt.generate > 0) described.future_length = prompt.generate;
    const std::size_t layers = described.layers.size();
    trace.add_prompt({std::move(described), prompt.tokens, std::vector<trace::LayerData>(layers)});
  }
  return trace;
}

nlohmann::ordered_json validation_settings(const ValidationPlan& plan,
                                           const std::vector<runtime::TokenizedPrompt>& prompts,
                                           const ValidateOptions& options) {
  nlohmann::ordered_json settings;
  settings["version"] = core::version();
  settings["model"] = plan.info.fingerprint;
  for (const runtime::TokenizedPrompt& prompt : prompts) {
    std::vector<std::int32_t> tokens = runtime::recorded_tokens(prompt);
    for (const auto& next : prompt.followups) {
      tokens.insert(tokens.end(), next.given.begin(), next.given.end());
      tokens.insert(tokens.end(), next.answer.begin(), next.answer.end());
    }
    settings["prompts"].push_back({prompt.id, prompt.tokens.size(), prompt.future.size(), prompt.generate, prompt.stop,
                                   prompt.metric, prompt.document,
                                   core::content_hash(std::as_bytes(std::span(tokens)))});
  }
  for (const sim::Policy& policy : plan.policies) settings["policies"].push_back(policy.text());
  for (const sim::Budget& budget : plan.budgets) settings["budgets"].push_back(budget.text());
  settings["window"] = std::to_string(options.window);
  settings["dtype"] = options.dtype == trace::ElementType::kFloat16 ? "float16" : "float32";
  settings["gradients"] = std::to_string(options.gradients);
  settings["evict-at"] = options.tokenization.evict_at == runtime::EvictAt::kContext ? "context" : "prompt";
  settings["max-tokens"] = std::to_string(options.most_tokens);
  settings["teacher-forced"] = options.teacher_forced;
  settings["replay"] = plan.replay;
  return settings;
}

runtime::RecordOptions live_record(const ValidateOptions& options) {
  runtime::RecordOptions record;
  record.tier = trace::Tier::kFull;
  record.window = options.window;
  record.dtype = options.dtype;
  record.gradients = options.gradients;
  return record;
}

trace::Index repeat_chunk_for(std::span<const sim::Policy> policies) {
  const bool repeats = std::ranges::any_of(policies, [](const sim::Policy& policy) {
    return policy.needs().fields.contains(trace::Field::kRepeatAttention);
  });
  return repeats ? runtime::kRepeatChunk : 0;
}

}  // namespace evictlab::lab
