// Methods that ask what a head's output loses without a position (scorers/output_error.cpp): rest-kv
// (arXiv:2605.08840), dropkv (NVIDIA/kvpress, pull request 285), caote (Goel et al. 2025, arXiv:2504.14051); and
// obcache (arXiv:2510.07651, scorers/output_response.cpp), whose score is a response and not an error.
//
// rest-kv follows an-yongqi/rest-kv@a8bb112 with its published settings, one set per query head; variant=driver has the
// defaults of its driver. Its smoothing depends on the budget (selectors/drifting.cpp). Deviations of the code from the
// paper: the paper takes errors per query against the output of all heads, closest to average=errors.
// dropkv follows kvpress' first revision of the request, in a form that does not lose its digits (the code expands a
// square, under which a sink that takes a whole row is evicted); its window is protected in place of scoring highest.
// caote and obcache are built from public text, which leaves their reduction over a group and their protection open:
// the group's mean and the window are ours. The paper's caote evicts block by block while it reads; here once after the
// prompt. weights=mass is caote on H2O's score.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

ParameterList chosen_parameters(const ParameterList& from, std::initializer_list<const char*> names) {
  ParameterList parameters;
  for (const char* name : names) parameters.add(from.at(name));
  return parameters;
}

Policy rest_kv_policy(const Parameters& given) {
  const std::string& smoothing = given.choice("smoothing");
  const bool adaptive = smoothing == "adaptive";
  const std::int64_t kernel = adaptive || smoothing == "none" ? 1 : given.integer("kernel");
  return assembled(given,
                   {.scorer = {"output-error", {{"kernel", kernel}, {"pooling", smoothing == "max" ? "max" : "avg"}}},
                    .refiner = adaptive ? PartChoice{"window-drift"} : PartChoice{"none"},
                    .allocator = given.choice("budgets") == "pyramid" ? PartChoice{"pyramid", {{"rule", "adakv"}}}
                                                                      : PartChoice{"uniform"},
                    .selector = adaptive ? PartChoice{"drifting"} : PartChoice{"top"},
                    .protection = protection_from(given)});
}

}  // namespace

PolicyDefinition rest_kv() {
  const ParameterList& scoring = scorer_parameters("output-error");
  ParameterList parameters = chosen_parameters(scoring, {"window", "kernel"});
  parameters.choice("smoothing", {"adaptive", "avg", "max", "none"}, "what a position gets of its neighbours")
      .add(selector_parameters("drifting").at("scale"))
      .add(chosen_parameters(scoring, {"average", "rows", "alpha", "space", "norm", "tau"}))
      .choice("budgets", {"uniform", "pyramid"}, "of the layers: equal, or falling as PyramidKV's")
      .add(allocator_parameters("pyramid"))
      .add(sinks_parameter())
      .add(chosen_parameters(scoring, {"reduction", "axis"}))
      .set_defaults(
          {{"kernel", "5"}, {"average", "attention"}, {"rows", "ema"}, {"space", "output"}, {"axis", "query"}});
  return {.description = "keeps what the window's average output would miss most, smoothed along its drift",
          .source = "an-yongqi/rest-kv@a8bb112",
          .parameters = parameters,
          .variants = {{"code", "an-yongqi/rest-kv@a8bb112", {}},
                       {"driver",
                        "an-yongqi/rest-kv@a8bb112",
                        {{"smoothing", "avg"},
                         {"average", "errors"},
                         {"rows", "mean"},
                         {"space", "value"},
                         {"alpha", "0.2"},
                         {"scale", "200"}}}},
          .build = rest_kv_policy};
}

PolicyDefinition dropkv() {
  ParameterList parameters =
      chosen_parameters(scorer_parameters("output-error"), {"window", "kernel", "epsilon", "reduction", "axis"});
  parameters.insert_before("reduction", sinks_parameter()).set_defaults({{"kernel", "7"}, {"epsilon", "1e-06"}});
  return {.description = "keeps what each output of the window would miss most, squared errors pooled",
          .source = "NVIDIA/kvpress@7fb8625",
          .parameters = parameters,
          .build = [](const Parameters& given) {
            return assembled(given,
                             {.scorer = {"output-error",
                                         {{"exponent", std::int64_t{2}}, {"pooling", "avg"}, {"pool_window", "yes"}}},
                              .protection = protection_from(given)});
          }};
}

PolicyDefinition caote() {
  ParameterList parameters = chosen_parameters(
      scorer_parameters("output-error"), {"window", "kernel", "pooling", "weights", "around", "reduction", "axis"});
  parameters.insert_before("reduction", sinks_parameter());
  return {.description = "keeps what the window's outputs would miss most: the exact error of dropping one position",
          .source = "arXiv:2504.14051",
          .parameters = parameters,
          .variants = {{"caote", "arXiv:2504.14051", {}}, {"fast", "arXiv:2504.14051", {{"around", "mean"}}}},
          .build = [](const Parameters& given) {
            return assembled(given, {.scorer = {"output-error"}, .protection = protection_from(given)});
          }};
}

PolicyDefinition obcache() {
  ParameterList parameters = scorer_parameters("output-response");
  parameters.insert_before("reduction", sinks_parameter());
  return {.description = "keeps the positions whose key or value moves the window's outputs most when it shrinks",
          .source = "arXiv:2510.07651",
          .parameters = parameters,
          .build = [](const Parameters& given) {
            return assembled(given, {.scorer = {"output-response"}, .protection = protection_from(given)});
          }};
}

}  // namespace evictlab::sim
