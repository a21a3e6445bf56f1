#include "sim/replay/replay.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>

#include "core/parallel.hpp"
#include "sim/replay/prompt_replay.hpp"
#include "sim/replay/replay_rows.hpp"

namespace evictlab::sim {
namespace {

// Prompts of larger layers are replayed one after another.
constexpr double kLargeLayerBytes = 0x1p26;

// Of one layer, what replay may have in memory.
double layer_bytes(const trace::ModelInfo& model, const trace::PromptInfo& prompt) {
  double bytes = 0.0;
  for (const trace::Field field : trace::kAllFields) {
    if (!prompt.recorded().contains(field) || prompt.layers.empty()) continue;
    const auto shape = trace::field_shape(field, trace::layer_shape(model, prompt, prompt.layers.front()));
    const double element =
        trace::field_info(field).elements == trace::FieldElements::kHalf ? sizeof(core::Half) : sizeof(float);
    bytes += element * static_cast<double>(shape.heads * shape.rows * shape.columns);
  }
  return bytes;
}

void check(const trace::Source& source, std::span<const Policy> policies) {
  std::set<std::string> texts;
  for (const Policy& policy : policies) {
    check_parts(policy);
    if (!texts.insert(policy.text()).second) throw PolicyError("policy {} is given twice", policy.label());
    for (const trace::PromptInfo& prompt : source.prompts()) {
      check_needs(policy, prompt);
      check_layers(policy, source.model(), prompt);
    }
  }
  for (const trace::PromptInfo& prompt : source.prompts()) {
    if (prompt.future_length > 0) continue;
    throw PolicyError(
        "prompt '{}' records no future queries (T = 0), so there is nothing to judge by (record with --future)",
        prompt.id);
  }
}

}  // namespace

ReplayResult replay(const trace::Source& source, std::span<const Policy> policies, std::span<const Budget> budgets,
                    const ReplayOptions& options) {
  check(source, policies);
  std::vector<Index> prompts = options.prompts;
  if (prompts.empty()) {
    prompts.resize(source.prompts().size());
    std::iota(prompts.begin(), prompts.end(), Index{0});
  }
  double total = 0.0;
  double largest = 0.0;
  for (const Index prompt : prompts) {
    const trace::PromptInfo& info = source.prompts().at(static_cast<std::size_t>(prompt));
    total += static_cast<double>(info.layers.size());
    largest = std::max(largest, layer_bytes(source.model(), info));
  }

  ReplayResult result = empty_result();
  PositionMeans positions;
  std::mutex mutex;
  double done = 0.0;
  // Prompts end in any order and are reported in theirs; a finished one waits for those before it.
  std::vector<std::unique_ptr<PromptReplay>> finished(prompts.size());
  std::size_t reported = 0;
  const auto work = [&](std::size_t i) {
    auto own = std::make_unique<PromptReplay>(source, prompts[i], policies, budgets, options);
    own->work([&] {
      const std::lock_guard lock(mutex);
      done += 1.0;
      if (options.progress) options.progress(done, total);
    });
    const std::lock_guard lock(mutex);
    if (options.finished) {
      ReplayResult alone = empty_result();
      PositionMeans own_positions;
      own->report(alone, own_positions, options);
      alone.positions = own_positions.table();
      options.finished(prompts[i], std::move(alone));
      return;
    }
    finished[i] = std::move(own);
    for (; reported < prompts.size() && finished[reported]; ++reported) {
      finished[reported]->report(result, positions, options);
      finished[reported].reset();
    }
  };
  // Large layers keep all threads busy by themselves, and one prompt's are enough to hold in memory.
  if (largest > kLargeLayerBytes) {
    for (std::size_t i = 0; i < prompts.size(); ++i) work(i);
  } else {
    core::parallel_for(prompts.size(), work);
  }
  if (!options.finished) result.positions = positions.table();
  return result;
}

}  // namespace evictlab::sim
