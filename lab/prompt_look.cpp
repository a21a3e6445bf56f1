#include "lab/prompt_look.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/interrupt.hpp"
#include "results/run_table.hpp"
#include "sim/replay/replay.hpp"

namespace evictlab::lab {
namespace {

using trace::Field;
using trace::Index;

/// How differently the policies treat a prompt's needle: the range of the shares they keep, widest budget.
std::map<std::string, double> needle_ranges(const std::optional<results::Table>& spans,
                                            const std::vector<sim::Policy>& policies) {
  std::map<std::string, double> ranges;
  if (!spans) return ranges;
  std::set<std::string> names;
  for (const sim::Policy& policy : policies) {
    if (policy.role != results::Role::kCeiling) names.insert(policy.name);
  }
  std::map<std::pair<std::string, std::string>, std::pair<double, double>> extremes;  // prompt, budget -> least, most
  for (const results::Run& run : results::runs_over_layers(*spans)) {
    const auto retained = spans->number(run.row, spans->column("retained"));
    if (!retained || spans->text(run.row, spans->column("span")) != "needle" || !names.contains(run.key.policy))
      continue;
    const auto [entry, is_new] = extremes.try_emplace({run.prompt, run.budget_text}, *retained, *retained);
    entry->second.first = std::min(entry->second.first, *retained);
    entry->second.second = std::max(entry->second.second, *retained);
  }
  for (const auto& [key, range] : extremes) {
    double& widest = ranges[key.first];
    widest = std::max(widest, range.second - range.first);
  }
  return ranges;
}

/// Indices into the trace's prompts, in their order.
std::vector<Index> chosen_prompts(const trace::Source& trace, std::size_t per_task,
                                  const std::map<std::string, double>& ranges) {
  std::map<std::string, std::vector<std::pair<double, Index>>> by_task;
  for (std::size_t p = 0; p < trace.prompts().size(); ++p) {
    const auto range = ranges.find(trace.prompts()[p].id);
    by_task[trace.prompts()[p].task].emplace_back(range == ranges.end() ? 0.0 : -range->second, static_cast<Index>(p));
  }
  std::vector<Index> chosen;
  for (auto& [task, prompts] : by_task) {
    std::ranges::sort(prompts);
    for (std::size_t i = 0; i < std::min(per_task, prompts.size()); ++i) chosen.push_back(prompts[i].second);
  }
  std::ranges::sort(chosen);
  return chosen;
}

/// [heads, cells]: `share` of a position, the largest of every cell, quantised.
void add_heads(Index heads, std::size_t positions, std::size_t cell,
               const std::function<void(Index head, std::span<float> shares)>& shares_of,
               std::vector<std::uint8_t>& out) {
  std::vector<float> shares(positions);
  for (Index head = 0; head < heads; ++head) {
    shares_of(head, shares);
    for (const float value : plots::pooled(shares, cell)) out.push_back(plots::quantised(value));
  }
}

void add_layer(const trace::LayerData& layer, std::size_t cell, plots::LookPrompt& prompt) {
  const auto n = static_cast<std::size_t>(layer.shape.prompt_length);
  const trace::TensorView window = layer.window_attention.view();
  std::vector<float> row(n);
  add_heads(
      layer.shape.query_heads, n, cell,
      [&](Index head, std::span<float> shares) {
        std::ranges::fill(shares, 0.0F);
        for (Index r = 0; r < window.rows(); ++r) {
          window.copy_row(head, r, row);
          for (std::size_t j = 0; j < n; ++j) shares[j] += row[j] / static_cast<float>(window.rows());
        }
      },
      prompt.window);
  if (layer.future_mass.empty()) return;
  const trace::TensorView mass = layer.future_mass.view();
  std::vector<float> whole(static_cast<std::size_t>(mass.columns()));
  const float queries = static_cast<float>(mass.columns() - static_cast<Index>(n));
  add_heads(
      layer.shape.query_heads, n, cell,
      [&](Index head, std::span<float> shares) {
        mass.copy_row(head, 0, whole);
        for (std::size_t j = 0; j < n; ++j) shares[j] = whole[j] / queries;
      },
      prompt.future);
}

/// The prompt without what is kept of it: its text, its spans and where its heads attend.
plots::LookPrompt look_prompt(const trace::Source& trace, Index number, const LookSettings& settings,
                              std::size_t most) {
  const trace::PromptInfo& info = trace.prompts()[static_cast<std::size_t>(number)];
  const auto n = static_cast<std::size_t>(info.prompt_length);
  plots::LookPrompt prompt{.id = info.id, .task = info.task, .positions = n, .cell = plots::cell_size(n, most)};
  const std::size_t cells = (n + prompt.cell - 1) / prompt.cell;
  prompt.heads = static_cast<std::size_t>(trace.model().query_heads);
  const std::vector<std::int32_t> tokens = trace.tokens(number);
  prompt.texts.resize(cells);
  for (std::size_t j = 0; j < n; ++j) prompt.texts[j / prompt.cell] += settings.text(tokens[j]);
  for (const trace::Span& span : info.spans) {
    const auto last = std::min(span.end, info.prompt_length);
    if (span.begin >= last) continue;
    prompt.spans.push_back({span.name, static_cast<std::size_t>(span.begin) / prompt.cell,
                            (static_cast<std::size_t>(last) + prompt.cell - 1) / prompt.cell});
  }
  trace::Fields fields = Field::kWindowAttention;
  if (info.future_length > 0) fields |= Field::kFutureMass;
  for (const Index layer : info.layers) {
    core::throw_if_interrupted();
    add_layer(trace.layer(number, layer, fields), prompt.cell, prompt);
    prompt.layers.push_back(static_cast<int>(layer));
  }
  prompt.kept.assign(settings.budgets.size(), std::vector<plots::LookKept>(settings.policies.size()));
  return prompt;
}

plots::LookKept look_kept(const sim::Retention& retention, const plots::LookPrompt& prompt) {
  plots::LookKept kept;
  for (const sim::LayerRetention& layer : retention.layers) {
    kept.sets = static_cast<std::size_t>(layer.sets());
    for (Index set = 0; set < layer.sets(); ++set) {
      const auto bits = plots::cell_bits(layer.kept(set), prompt.cell, prompt.texts.size());
      kept.bits.insert(kept.bits.end(), bits.begin(), bits.end());
    }
  }
  return kept;
}

/// Replays the prompts and adds what each policy keeps at each budget; nothing where the budget is below what is
/// protected.
void add_kept(const trace::Source& trace, const std::vector<Index>& prompts, const LookSettings& settings,
              plots::Look& look, Observer& observer) {
  std::map<std::string, plots::LookPrompt*> by_id;
  for (plots::LookPrompt& prompt : look.prompts) by_id[prompt.id] = &prompt;
  sim::ReplayOptions options;
  options.prompts = prompts;
  options.tables = false;
  options.progress = progress_to(observer, {"looking at prompts"});
  options.retention = [&](const sim::RetentionRecord& record) {
    plots::LookPrompt& prompt = *by_id.at(record.prompt.id);
    const auto budget = static_cast<std::size_t>(&record.budget - settings.budgets.data());
    const auto policy = static_cast<std::size_t>(&record.policy - settings.policies.data());
    prompt.kept[budget][policy] = look_kept(record.retention, prompt);
  };
  sim::replay(trace, settings.policies, settings.budgets, options);
}

}  // namespace

plots::Look make_look(const trace::Source& trace, const LookSettings& settings,
                      const std::optional<results::Table>& spans, Observer& observer) {
  const std::map<std::string, double> ranges = needle_ranges(spans, settings.policies);
  const std::vector<Index> chosen = chosen_prompts(trace, settings.prompts_per_task, ranges);
  plots::Look look{.policies = settings.labels};
  for (const sim::Budget& budget : settings.budgets) look.budgets.push_back(budget.text());
  look.choice =
      fmt::format("Of {} prompts these {} can be looked at: of every task the {}{}.", trace.prompts().size(),
                  chosen.size(), settings.prompts_per_task,
                  ranges.empty() ? " first" : " whose needles the policies treat most differently, or the first");
  const trace::ModelInfo& model = trace.model();
  // Bytes that a cell costs over layers: two quantised attentions a head, a bit a kept set.
  const double per_cell = static_cast<double>(model.layers * model.query_heads) *
                          (2.0 + static_cast<double>(settings.policies.size() * settings.budgets.size()) / 8.0);
  const double most =
      static_cast<double>(settings.bytes) / (per_cell * static_cast<double>(std::max<std::size_t>(chosen.size(), 1)));
  for (const Index prompt : chosen) {
    look.prompts.push_back(
        look_prompt(trace, prompt, settings, static_cast<std::size_t>(std::clamp(most, 64.0, 4096.0))));
  }
  add_kept(trace, chosen, settings, look, observer);
  return look;
}

}  // namespace evictlab::lab
