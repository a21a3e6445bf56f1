#include "adapter.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

namespace evictlab::golden {
namespace {

using Json = nlohmann::json;

struct Context {
  const Case& golden;
  const Json& params;
  const trace::LayerShape& shape;

  Index integer(const char* name) const { return params.at(name).get<Index>(); }
  double number(const char* name) const { return params.at(name).get<double>(); }
  std::string word(const char* name) const { return params.at(name).get<std::string>(); }
  bool flag(const char* name) const { return params.value(name, Json(false)) == Json(true); }
  const char* yes_no(const char* name) const { return flag(name) ? "yes" : "no"; }

  /// A capacity per kept set as stored slots per kv head.
  double slots(Index capacity) const {
    return static_cast<double>(golden.per_query_head ? capacity * shape.group_size() : capacity);
  }
  /// What kvpress keeps of the prompt; it rounds by itself.
  double kept_by_ratio() const {
    return static_cast<double>(shape.prompt_length) * (1.0 - number("compression_ratio"));
  }
  std::string axis() const { return golden.per_query_head ? "query" : "kv"; }
  /// SnapKV's score as adakv and KVCache-Factory have it.
  std::string scoring() const {
    return fmt::format("window={},kernel={},pooling={},axis={},reduction={}", integer("window"), integer("kernel"),
                       pooling("pooling"), axis(), params.value("gqa", "mean"));
  }
  std::string pooling(const char* name) const { return word(name) == "maxpool" ? "max" : "avg"; }
  /// The same as kvpress has it.
  std::string press_scoring() const { return fmt::format("window={},kernel={}", integer("window"), integer("kernel")); }
};

Request snapkv(const Context& c) {
  const double slots = c.slots(c.integer("max_capacity_prompt"));
  const std::string pyramid = c.params.value("pyramid", "");
  if (pyramid.empty()) return {fmt::format("snapkv({})", c.scoring()), slots};
  return {fmt::format("pyramidkv({},beta={},variant={})", c.scoring(), c.integer("beta"),
                      pyramid == "kvcf" ? "kvcache-factory" : "adakv"),
          slots};
}

Request ada_snapkv(const Context& c) {
  std::string parameters = fmt::format("{},floor_alpha={},normalize={},skip={}", c.scoring(), c.number("floor_alpha"),
                                       c.yes_no("normalize"), c.params.value("skip", Index{0}));
  if (c.flag("pyramid")) parameters += fmt::format(",beta={}", c.integer("beta"));
  return {fmt::format("{}({})", c.flag("pyramid") ? "ada-pyramid" : "ada-snapkv", parameters),
          c.slots(c.integer("base_capacity"))};
}

Request streaming_adakv(const Context& c) { return {"streaming-llm", c.slots(c.integer("max_capacity_prompt"))}; }

Request streaming_kvcf(const Context& c) {
  return {fmt::format("streaming-llm(variant=kvcache-factory,window={},axis={})", c.integer("window"), c.axis()),
          c.slots(c.integer("max_capacity_prompt"))};
}

Request h2o(const Context& c) {
  return {
      fmt::format("h2o(window={},axis={},reduction={})", c.integer("window"), c.axis(), c.params.value("gqa", "mean")),
      c.slots(c.integer("max_capacity_prompt"))};
}

// Policies of kvpress: what they keep is a share of the prompt.
using Press = std::function<std::string(const Context&)>;
std::function<Request(const Context&)> press(Press policy) {
  return [policy](const Context& c) { return Request{policy(c), c.kept_by_ratio()}; };
}

// Its chunks are counted by the ratio; ours by slots / n. Half a chunk more is the same count without doubt.
Request chunkkv(const Context& c) {
  const Index length = c.integer("chunk_length");
  const auto chunks = static_cast<double>((c.shape.prompt_length + length - 1) / length);
  const double count = std::max(1.0, std::floor(chunks * (1.0 - c.number("compression_ratio"))));
  return {fmt::format("chunkkv(chunk={},{})", length, c.press_scoring()),
          std::ceil((count + 0.5) * static_cast<double>(c.shape.prompt_length) / chunks)};
}

Request simlayerkv(const Context& c) {
  return {fmt::format("simlayerkv(threshold={},last={},recent={},initial={})", c.number("lazy_threshold"),
                      c.integer("n_last"), c.integer("n_recent"), c.integer("n_initial")),
          static_cast<double>(c.shape.prompt_length)};
}

Request cake(const Context& c) {
  return {fmt::format("cake(window={},gamma={},tau1={},tau2={},cascading={})", c.integer("window_size"),
                      c.number("gamma"), c.number("tau1"), c.number("tau2"), c.yes_no("cascading")),
          static_cast<double>(c.integer("cache_size"))};
}

Request dynamickv(const Context& c) {
  return {fmt::format("dynamickv(window={},kernel={},pooling={},ratio_max={},axis=query)", c.integer("window_size"),
                      c.integer("kernel_size"), c.pooling("pooling"), c.number("radio_max")),
          c.slots(c.integer("max_capacity_prompt"))};
}

Request windowkv(const Context& c) {
  const Index suffix = c.integer(c.word("strategy") == "max" ? "suffix_max" : "suffix_avg");
  const Index block = c.integer("review_window_size");
  return {fmt::format("windowkv(strategy={},block={},top={},beta={},shared_layers={},suffix={})", c.word("strategy"),
                      block, std::max<Index>(1, block / 2), c.integer("beta"), c.integer("shared_layers"), suffix),
          static_cast<double>(c.integer("max_capacity_prompt") + suffix)};
}

// The unmodified code, whose window is not protected.
std::string defensive(const Context& c, const char* policy) {
  return fmt::format("{}(variant=code,{})", policy, c.press_scoring());
}

Request lava(const Context& c) {
  return {fmt::format("lava(window={},kernel={},pooling={},floor_alpha={},normalize={},skip={})", c.integer("window"),
                      c.integer("kernel"), c.pooling("pooling"), c.number("floor_alpha"), c.yes_no("normalize"),
                      c.integer("skip")),
          c.slots(c.integer("base_capacity"))};
}

Request rest_kv(const Context& c) {
  const std::string pooling = c.word("pooling");
  const bool exponential = c.flag("use_ema");
  const std::string alpha = c.params.at("alpha").is_null() ? std::string("0") : fmt::format("{}", c.number("alpha"));
  const bool before = c.word("metric_mode") == "before";
  return {fmt::format("rest-kv(window={},kernel={},smoothing={},average={},rows={},alpha={},space={},norm={},tau={},"
                      "scale={},budgets={})",
                      c.integer("window"), c.integer("kernel"),
                      pooling == "avgpool"   ? "avg"
                      : pooling == "maxpool" ? "max"
                                             : pooling,
                      before ? "errors" : "attention", exponential ? "ema" : "mean", alpha,
                      c.flag("use_wo") ? "output" : "value", before ? c.yes_no("use_norm") : "no", c.number("tau"),
                      c.number("scale"), c.flag("use_pyramid") ? "pyramid" : "uniform"),
          c.slots(c.integer("max_capacity_prompt"))};
}

// The code never keeps fewer than the window.
Request dropkv(const Context& c) {
  return {fmt::format("dropkv({},epsilon={})", c.press_scoring(), c.number("epsilon")),
          std::max(c.kept_by_ratio(), static_cast<double>(c.integer("window")))};
}

Request r_kv(const Context& c) {
  return {fmt::format("r-kv(window={},kernel={},lambda={},exempt={})", c.integer("window"), c.integer("kernel"),
                      c.number("mix_lambda"), c.word("retain_direction") == "first" ? "first" : "last"),
          c.slots(c.integer("budget"))};
}

// `ratio` of the context is kept, beside the system prompt and what follows the context.
Request kvzip(const Context& c) {
  const Index sinks = c.integer("sink");
  const Index window = c.integer("window");
  const auto context = static_cast<double>(c.shape.prompt_length - sinks - window);
  return {
      fmt::format("kvzip(sinks={},window={},over={})", sinks, window, c.word("level") == "pair" ? "layers" : "nothing"),
      static_cast<double>(sinks + window) + context * c.number("ratio")};
}

// A ratio of all that compete is pruned, rounded down; half a slot more is the same count without doubt.
Request kvpress_kvzip(const Context& c) {
  const Index window = c.integer("window");
  const bool layerwise = c.flag("layerwise");
  const Index sets = c.shape.kv_heads * (layerwise ? 1 : c.shape.layers);
  const Index all = sets * (c.shape.prompt_length - window);
  const Index kept = all - static_cast<Index>(static_cast<double>(all) * c.number("compression_ratio"));
  return {fmt::format("kvzip(variant=kvpress,top={},window={},over={})", c.integer("n_sink"), window,
                      layerwise ? "heads" : "layers"),
          static_cast<double>(window) + (static_cast<double>(kept) + 0.5) / static_cast<double>(sets)};
}

const std::map<std::string, std::function<Request(const Context&)>>& adapters() {
  static const std::map<std::string, std::function<Request(const Context&)>> table = {
      {"snapkv", snapkv},
      {"ada_snapkv", ada_snapkv},
      {"slm_adakv", streaming_adakv},
      {"slm_kvcf", streaming_kvcf},
      {"h2o", h2o},
      {"kvpress_snapkv",
       press([](const Context& c) { return fmt::format("snapkv(variant=kvpress,{})", c.press_scoring()); })},
      {"kvpress_pyramidkv", press([](const Context& c) {
         return fmt::format("pyramidkv(variant=kvpress,{},beta={})", c.press_scoring(), c.integer("beta"));
       })},
      {"kvpress_adakv", press([](const Context& c) {
         return fmt::format("ada-snapkv(variant=kvpress,{},floor_alpha={})", c.press_scoring(),
                            c.number("alpha_safeguard"));
       })},
      {"kvpress_criticalkv", press([](const Context& c) {
         return fmt::format("criticalkv({},epsilon={},first_stage={})", c.press_scoring(), c.number("epsilon"),
                            c.number("first_stage_ratio"));
       })},
      {"kvpress_criticaladakv", press([](const Context& c) {
         return fmt::format("critical-adakv({},epsilon={},first_stage={},floor_alpha={})", c.press_scoring(),
                            c.number("epsilon"), c.number("first_stage_ratio"), c.number("alpha_safeguard"));
       })},
      {"kvpress_chunkkv", chunkkv},
      {"kvpress_tova", press([](const Context&) { return std::string("tova"); })},
      {"kvpress_streaming_llm", press([](const Context& c) {
         return fmt::format("streaming-llm(variant=kvpress,sinks={})", c.integer("n_sink"));
       })},
      {"kvpress_knorm", press([](const Context&) { return std::string("knorm"); })},
      {"kvpress_keydiff", press([](const Context&) { return std::string("keydiff"); })},
      {"kvpress_lagkv", press([](const Context& c) {
         return fmt::format("lagkv(sinks={},lag={},cross={})", c.integer("n_sink"), c.integer("lag_size"),
                            c.yes_no("cross_scoring"));
       })},
      {"kvpress_simlayerkv", simlayerkv},
      {"kvpress_random",
       press([](const Context& c) { return fmt::format("random(variant=kvpress,seed={})", c.integer("seed")); })},
      {"kvpress_observed_attention", press([](const Context&) { return std::string("h2o(variant=kvpress)"); })},
      {"kvpress_expected_attention", press([](const Context& c) {
         return fmt::format("expected-attention(future={},sinks={},covariance={},values={},epsilon={})",
                            c.integer("n_future_positions"), c.integer("n_sink"), c.yes_no("use_covariance"),
                            c.yes_no("use_vnorm"), c.number("epsilon"));
       })},
      {"cake", cake},
      {"dynamickv", dynamickv},
      {"windowkv", windowkv},
      {"defensivekv", press([](const Context& c) { return defensive(c, "defensivekv"); })},
      {"layer_defensivekv", press([](const Context& c) { return defensive(c, "layer-defensivekv"); })},
      {"lava", lava},
      {"restkv", rest_kv},
      {"dropkv", dropkv},
      {"rkv", r_kv},
      {"kvzip", kvzip},
      {"kvpress_kvzip", kvpress_kvzip},
  };
  return table;
}

}  // namespace

Request request_for(const Case& golden, const trace::LayerShape& shape) {
  const auto adapter = adapters().find(golden.algorithm);
  if (adapter == adapters().end()) {
    throw core::InputError("{}: no adapter for the algorithm '{}'", golden.name, golden.algorithm);
  }
  try {
    return adapter->second({golden, golden.params, shape});
  } catch (const Json::exception& error) {
    throw core::InputError("{}: params of '{}' are not as expected: {}", golden.name, golden.algorithm, error.what());
  }
}

}  // namespace evictlab::golden
