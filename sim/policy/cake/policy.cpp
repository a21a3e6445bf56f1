// CAKE (Qin et al. 2025, arXiv:2503.12491): the last w queries tell which positions are attended to much or by fits and
// starts (scorers/mean_variance.cpp), and which layers attend widely and restlessly and so prefer to hold more
// (allocators/preference.cpp). Layers share one budget that is divided anew after each of them, so that the prefill
// never holds more than one whole layer beyond it.
//
// variant=code follows antgroup/cakekv@c4675ce: budgets divide what is not protected, are rounded by a rule under which
// a layer's budget can rise after it was cut, and a prompt of at most capacity + w positions is kept whole although it
// exceeds the budget. variant=paper: shares of the whole budget, the window included, by D'Hondt's divisors; the paper
// leaves rounding and the positions that every layer must hold open.
// Both: dispersion and shift are sums over the query heads, weights are not renormalised after the window's own columns
// are left out; windows of one query have no variance and are refused; average pooling over 5 is the code's, the
// paper says "a pooling layer". The code crashes on prompts of at most w positions; here they are kept whole.

#include "sim/policy/declarations.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition cake() {
  ParameterList parameters;
  parameters.integer("window", 32, {2, kMaxPositions}, "last queries that vote; their positions are kept");
  declare_mean_variance(parameters);
  declare_preference(parameters);
  declare_decode(parameters);
  return {.description =
              "divides the budget over layers by how widely and restlessly they attend; keeps what is "
              "attended to much or by fits and starts",
          .source = "antgroup/cakekv@c4675ce",
          .parameters = parameters,
          .variants = {{"code", "antgroup/cakekv@c4675ce", {}}, {"paper", "arXiv:2503.12491", {}}},
          .build = [](const Parameters& given) {
            Policy policy;
            policy.scorer = mean_variance_scorer(mean_variance_scoring_from(given));
            policy.allocator =
                preference_allocator(preference_rule_from(given, given.choice(kVariantParameter) == "paper"));
            policy.selector = top_selector();
            policy.protection.recent = given.integer("window");
            if (decodes(given)) policy.decoding = cake_decode_rule(given.integer("kernel"));
            return policy;
          }};
}

}  // namespace evictlab::sim
