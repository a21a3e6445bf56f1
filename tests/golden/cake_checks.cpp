#include "cake_checks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "checks.hpp"
#include "sim/policy/cake/formulas.hpp"
#include "sim/policy/decoding.hpp"

namespace evictlab::golden {
namespace {

using trace::hdf5::File;

// Rows of [rows, layers] whose entries beyond what they know are -1.
struct History {
  std::vector<std::int32_t> values;
  std::size_t rows = 0;
  std::size_t columns = 0;

  History(const File& file, const std::string& object) : values(file.read<std::int32_t>(object)) {
    const auto shape = file.dataset(object).shape;
    if (shape.size() != 2) throw trace::TraceError("{}: {} must have two dimensions", file.path().string(), object);
    rows = shape[0];
    columns = shape[1];
  }
  Index at(std::size_t row, std::size_t column) const { return values[row * columns + column]; }
};

// A layer with decode_query [H, T, d] and decode_key [G, T, d] behind it.
struct DecodeInputs {
  trace::Tensor queries, keys;
  trace::LayerView layer;
  trace::FutureView future;

  DecodeInputs(const File& file, const trace::LayerView& view, Index steps) : layer(view) {
    const trace::LayerShape& shape = view.shape;
    const Index n = shape.prompt_length;
    const std::string group = fmt::format("/layers/{}/", shape.layer);
    const auto query = file.read<float>(group + "decode_query");
    const auto key = file.read<float>(group + "decode_key");
    if (static_cast<Index>(query.size()) != shape.query_heads * steps * shape.head_dim ||
        static_cast<Index>(key.size()) != shape.kv_heads * steps * shape.head_dim) {
      throw trace::TraceError("{}: {}decode_query or decode_key has another shape than decode_evicted",
                              file.path().string(), group);
    }
    queries = trace::Tensor(trace::ElementType::kFloat32, shape.query_heads, steps, shape.head_dim);
    std::copy(query.begin(), query.end(), queries.floats().begin());
    keys = trace::Tensor(trace::ElementType::kFloat32, shape.kv_heads, n + steps, shape.head_dim);
    std::vector<float> row(static_cast<std::size_t>(shape.head_dim));
    for (Index g = 0; g < shape.kv_heads; ++g) {
      for (Index j = 0; j < n; ++j) {
        view.keys.copy_row(g, j, row);
        keys.set_row(g, j, row);
      }
      for (Index t = 0; t < steps; ++t) {
        keys.set_row(g, n + t,
                     std::span(key).subspan(static_cast<std::size_t>((g * steps + t) * shape.head_dim), row.size()));
      }
    }
    layer.shape.future_length = steps;
    future.queries = queries.view();
    future.keys = keys.view();
  }
};

Index recorded(const LayerState& state) { return state.budgets.front() - state.protected_count; }

template <typename Value>
std::string compare_row(const History& theirs, std::size_t row, const std::vector<LayerState>& ours, const char* what,
                        std::size_t after, const Value& value) {
  for (std::size_t l = 0; l < theirs.columns; ++l) {
    const Index expected = theirs.at(row, l);
    if (l >= ours.size() && expected == -1) continue;
    if (l >= ours.size()) return fmt::format("{} tells of layer {} after layer {}", what, l, after);
    if (value(ours[l]) != expected) {
      return fmt::format("{} of layer {} after layer {} is {}, the authors' {}", what, l, after, value(ours[l]),
                         expected);
    }
  }
  return {};
}

}  // namespace

LayerState state_of(const sim::LayerRetention& layer, Index protected_count) {
  LayerState state;
  for (Index set = 0; set < layer.sets(); ++set) state.stored.push_back(static_cast<Index>(layer.kept(set).size()));
  state.budgets.assign(layer.budgets.begin(), layer.budgets.end());
  state.protected_count = protected_count;
  return state;
}

std::string compare_history(const File& file, const Case& golden, const std::vector<std::vector<LayerState>>& states) {
  std::string difference;
  const auto each_layer = [&](const char* name, const auto& value) {
    if (!difference.empty() || !file.exists(golden.path + "/" + name)) return;
    const History theirs(file, golden.path + "/" + name);
    if (theirs.rows != states.size()) difference = fmt::format("{} is for another number of layers", name);
    for (std::size_t m = 0; m < theirs.rows && difference.empty(); ++m) {
      difference = compare_row(theirs, m, states[m], name, m, value);
    }
  };
  each_layer("stored_tokens", [](const LayerState& state) { return state.stored.front(); });
  each_layer("cascade_budgets", recorded);
  const std::string updates = golden.path + "/intermediate_budgets";
  if (difference.empty() && file.exists(updates)) {
    const History theirs(file, updates);
    constexpr std::size_t kPeriod = 4;  // the golden runs' code renews budgets after every fourth layer
    for (std::size_t u = 0; u < theirs.rows && difference.empty(); ++u) {
      const std::size_t after = (u + 1) * kPeriod - 1;
      if (after >= states.size()) return "intermediate_budgets has more updates than there are layers for";
      difference = compare_row(theirs, u, states[after], "intermediate_budgets", after, recorded);
    }
  }
  return difference;
}

std::string compare_preference(const File& file, const Case& golden, const std::vector<trace::LayerView>& views) {
  if (!file.exists(golden.path + "/preference")) return {};
  constexpr double kTolerance = 1e-4;
  const auto theirs = file.read<double>(golden.path + "/preference");
  if (theirs.size() != views.size()) return "preference is for another number of layers";
  for (std::size_t l = 0; l < views.size(); ++l) {
    const double ours =
        sim::cake_preference(views[l], golden.params.at("window_size").get<Index>(),
                             golden.params.at("tau1").get<double>(), golden.params.at("tau2").get<double>());
    if (std::abs(ours - theirs[l]) <= kTolerance * std::abs(theirs[l])) continue;
    return fmt::format("preference of layer {} is {}, the authors' {}", l, ours, theirs[l]);
  }
  return {};
}

std::string compare_decoding(const File& file, const Case& golden, const sim::Policy& policy,
                             const sim::Retention& retention, const std::vector<trace::LayerView>& views) {
  if (!file.exists(golden.path + "/decode_evicted")) return {};
  const auto dimensions = file.dataset(golden.path + "/decode_evicted").shape;
  if (dimensions.size() != 3 || dimensions[0] != views.size()) return "decode_evicted is not [layers, steps, heads]";
  const auto evicted = file.read<std::int32_t>(golden.path + "/decode_evicted");
  const auto kept = file.read<std::uint8_t>(golden.path + "/decode_kept");
  const auto rule = sim::make_decoder({"cake", {{"kernel", 5}}});  // the code's kernel
  for (std::size_t l = 0; l < views.size(); ++l) {
    const DecodeInputs inputs(file, views[l], static_cast<Index>(dimensions[1]));
    const sim::DecodedLayer decoded =
        sim::decode_layer(*rule, inputs.layer, inputs.future, policy.granularity, policy.ranges(views[l].shape),
                          policy.protection, retention.layers[l]);
    for (std::size_t head = 0; head < dimensions[2]; ++head) {
      for (std::size_t t = 0; t < dimensions[1]; ++t) {
        const Index theirs = evicted[(l * dimensions[1] + t) * dimensions[2] + head];
        if (decoded.evicted[head][t] == theirs) continue;
        return fmt::format("layer {} head {} step {} evicts {}, the authors {}", l, head, t, decoded.evicted[head][t],
                           theirs);
      }
      const std::size_t length = static_cast<std::size_t>(views[l].shape.prompt_length) + dimensions[1];
      std::vector<std::uint8_t> counts(length, 0);
      for (const std::int32_t position : decoded.stored[head]) ++counts[static_cast<std::size_t>(position)];
      if (!std::equal(counts.begin(), counts.end(),
                      kept.begin() + static_cast<std::ptrdiff_t>((l * dimensions[2] + head) * length))) {
        return fmt::format("layer {} head {} holds other positions after decoding", l, head);
      }
    }
  }
  return {};
}

std::string check_adjust_budgets(const File& file) {
  const auto raw = file.read<double>("/raw");
  const auto count = file.read<std::int32_t>("/num");
  const auto total = file.read<std::int32_t>("/total");
  const auto cap = file.read<std::int32_t>("/cap");
  const auto theirs = file.read<std::int32_t>("/out");
  const std::size_t vectors = count.size();
  if (vectors == 0 || total.size() != vectors || cap.size() != vectors || raw.size() != theirs.size() ||
      raw.size() % vectors != 0) {
    return "its datasets do not belong together";
  }
  const std::size_t width = raw.size() / vectors;
  for (std::size_t i = 0; i < vectors; ++i) {
    const auto used = static_cast<std::size_t>(count[i]);
    if (used > width) return fmt::format("vector {} has more entries than there are", i);
    const auto ours = sim::cake_adjusted_budgets(std::span(raw).subspan(i * width, used), total[i], cap[i]);
    for (std::size_t l = 0; l < used; ++l) {
      const Index expected = theirs[i * width + l];
      if (ours[l] != expected) return fmt::format("vector {} entry {} is {}, the authors' {}", i, l, ours[l], expected);
    }
  }
  return {};
}

}  // namespace evictlab::golden
