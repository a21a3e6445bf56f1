#include "sim/policy/cake/formulas.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace evictlab::sim {
namespace {

// Adds `amount` in equal parts, the first ones getting one more, to the budgets that `open` chooses.
template <typename Open>
void spread_equally(std::vector<Index>& budgets, Index amount, Index sign, const Open& open) {
  std::vector<std::size_t> chosen;
  for (std::size_t l = 0; l < budgets.size(); ++l) {
    if (open(l)) chosen.push_back(l);
  }
  if (chosen.empty()) return;
  const auto count = static_cast<Index>(chosen.size());
  for (Index i = 0; i < count; ++i) {
    budgets[chosen[static_cast<std::size_t>(i)]] += sign * (amount / count + (i < amount % count ? 1 : 0));
  }
}

struct PublishedTemperatures {
  std::string_view model;
  Index capacity;
  CakeTemperatures temperatures;
};
constexpr PublishedTemperatures kPublishedTemperatures[] = {
    {"llama3.1-8b-128k", 1024, {1.6, 0.4}},    {"llama3.1-8b-128k", 128, {1.6, 0.6}},
    {"llama2-7b-chat-4k", 1024, {1.9, 1.8}},   {"llama2-7b-chat-4k", 128, {0.9, 2.3}},
    {"llama2-13b-chat-4k", 1024, {0.5, 0.4}},  {"llama2-13b-chat-4k", 128, {1.8, 2.0}},
    {"mistral-0.3-7b-32k", 1024, {0.8, 0.5}},  {"mistral-0.3-7b-32k", 128, {1.0, 0.8}},
    {"qwen2.5-7b-instruct", 1024, {1.5, 0.6}}, {"qwen2.5-7b-instruct", 128, {0.4, 0.6}},
};

}  // namespace

analysis::AttentionSpread cake_spread(const trace::LayerView& layer, Index window) {
  const Index first = layer.shape.first_visible();
  const Index count = layer.shape.prompt_length - window - first;
  return analysis::attention_spread(layer.window_attention, window, first, count);
}

double cake_preference(const analysis::AttentionSpread& spread, double tau1, double tau2) {
  return std::pow(spread.dispersion, 1.0 / tau1) * std::pow(spread.shift, 1.0 / tau2);
}

double cake_preference(const trace::LayerView& layer, Index window, double tau1, double tau2) {
  return cake_preference(cake_spread(layer, window), tau1, tau2);
}

std::vector<Index> cake_adjusted_budgets(std::span<const double> raw, Index total, Index cap) {
  return cake_adjusted_budgets(raw, total, std::vector<Index>(raw.size(), cap));
}

std::vector<Index> cake_adjusted_budgets(std::span<const double> raw, Index total, std::span<const Index> caps) {
  std::vector<Index> budgets(raw.size());
  Index excess = 0;
  for (std::size_t l = 0; l < raw.size(); ++l) {
    const auto whole = static_cast<Index>(raw[l]);
    budgets[l] = std::min(whole, caps[l]);
    excess += whole - budgets[l];
  }
  const auto below_cap = [&](std::size_t l) { return budgets[l] < caps[l]; };
  if (excess > 0) spread_equally(budgets, excess, 1, below_cap);
  const Index missing = total - std::accumulate(budgets.begin(), budgets.end(), Index{0});
  if (missing > 0) spread_equally(budgets, missing, 1, below_cap);
  if (missing < 0) spread_equally(budgets, -missing, -1, [&](std::size_t l) { return budgets[l] > 1; });
  return budgets;
}

std::vector<Index> divisor_budgets(std::span<const double> weights, Index total, std::span<const Index> least,
                                   std::span<const Index> most) {
  const std::size_t layers = weights.size();
  std::vector<double> share(weights.begin(), weights.end());
  if (std::accumulate(most.begin(), most.end(), Index{0}) <= total) return {most.begin(), most.end()};
  const double largest = share.empty() ? 0.0 : *std::max_element(share.begin(), share.end());
  for (double& weight : share) weight = largest > 0.0 ? weight / largest : 1.0;

  std::vector<Index> budgets(layers);
  // A layer holds the slots whose quotient share / k is at least `quotient`.
  const auto fill = [&](double quotient) {
    for (std::size_t l = 0; l < layers; ++l) {
      const double slots = std::min(std::floor(share[l] / quotient), static_cast<double>(most[l]));
      budgets[l] = std::max(least[l], static_cast<Index>(slots));
    }
    return std::accumulate(budgets.begin(), budgets.end(), Index{0});
  };
  // The smallest quotient that does not give out more than there is; halving stops at neighbouring numbers.
  double high = 2.0;
  double low = 1e-18;
  for (double middle = std::sqrt(low * high); middle > low && middle < high; middle = std::sqrt(low * high)) {
    (fill(middle) > total ? low : high) = middle;
  }
  // One by one from a little below, so that rounding of quotients decides nothing.
  Index given = fill(high);
  for (std::size_t l = 0; l < layers; ++l) {
    const Index back = std::min<Index>(1, budgets[l] - least[l]);
    budgets[l] -= back;
    given -= back;
  }
  for (; given < total; ++given) {
    std::size_t best = layers;
    double best_quotient = -1.0;
    for (std::size_t l = 0; l < layers; ++l) {
      const double quotient = share[l] / static_cast<double>(budgets[l] + 1);
      if (budgets[l] >= most[l] || quotient <= best_quotient) continue;
      best = l;
      best_quotient = quotient;
    }
    if (best == layers) break;
    ++budgets[best];
  }
  return budgets;
}

std::vector<std::string> cake_models() {
  std::vector<std::string> models;
  for (const PublishedTemperatures& row : kPublishedTemperatures) {
    if (std::find(models.begin(), models.end(), row.model) == models.end()) models.emplace_back(row.model);
  }
  return models;
}

std::optional<CakeTemperatures> cake_temperatures(std::string_view model, Index capacity) {
  for (const PublishedTemperatures& row : kPublishedTemperatures) {
    if (row.model == model && row.capacity == capacity) return row.temperatures;
  }
  return {};
}

}  // namespace evictlab::sim
