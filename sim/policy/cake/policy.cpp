// CAKE (Qin et al. 2025, arXiv:2503.12491): scores positions by mean + gamma * variance of the last w queries'
// attention (cake/mean_variance.cpp), and layers by the entropy and temporal variance of that attention
// (cake/preference.cpp). Layers share one budget in proportion to their preference. It is divided again after each
// layer, so that the prefill never holds more than one whole layer beyond it.
//
// variant=code follows antgroup/cakekv@c4675ce: budgets divide what is not protected, are rounded by a rule under which
// a layer's budget can rise after it was cut, and a prompt of at most capacity + w positions is kept whole although it
// exceeds the budget. variant=paper: shares of the whole budget, the window included, by D'Hondt's divisors; the paper
// leaves rounding and the positions that every layer must hold open.
// Both: dispersion and shift are sums over the query heads, weights are not renormalised after the window's own columns
// are left out; windows of one query have no variance and are refused; average pooling over 5 is the code's, the
// paper says "a pooling layer". The code crashes on prompts of at most w positions; here they are kept whole.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition cake() {
  ParameterList parameters = scorer_parameters("mean-variance");
  parameters.add(allocator_parameters("preference")).remove("exact").add(decode_parameter());
  return {.description =
              "splits the budget over layers by attention entropy and temporal variance; scores positions by mean + "
              "gamma x variance of window attention",
          .source = "antgroup/cakekv@c4675ce",
          .parameters = parameters,
          .variants = {{"code", "antgroup/cakekv@c4675ce", {}}, {"paper", "arXiv:2503.12491", {}}},
          .build = [](const Parameters& given) {
            const bool paper = given.choice(kVariantParameter) == "paper";
            return assembled(given, {.scorer = {"mean-variance"},
                                     .allocator = {"preference", {{"exact", paper ? "yes" : "no"}}},
                                     .decoder = {"cake"},
                                     .protection = {.recent = given.integer("window")}});
          }};
}

}  // namespace evictlab::sim
