// SnapKV (Li et al. 2024, arXiv:2404.14469): the last w queries of the prompt vote for the positions before
// them; the window and the top budget - w voted positions are kept, the same number in every layer and head.
// A prompt no longer than the budget is kept whole. The score is scorers/window_attention.cpp's.
//
// The default follows FFY0/AdaKV with grouped queries: one set per kv head, reduced before pooling, w = 32,
// k = 7, max pooling as in the published runs. Deviations from the paper: it keeps a share of the prompt
// where all code keeps a constant number; the original code defaults to average pooling with k = 5.

#include "sim/parts.hpp"
#include "sim/registry.hpp"

namespace evictlab::sim {

PolicyDefinition snapkv() {
  ParameterList parameters;
  parameters.integer("window", 32, {1, kMostPositions}, "last queries that vote; their positions are kept")
      .integer("kernel", 7, {1, 255, true}, "positions pooled over")
      .choice("pooling", {"max", "avg"}, "what a position gets of its neighbours")
      .choice("reduction", {"mean", "max", "sum"}, "over the query heads of a kv head (axis=kv)")
      .integer("sinks", 0, {0, kMostPositions}, "first positions kept in any case");
  declare_axis(parameters);
  parameters.choice("variant", {"adakv"}, "whose code it follows");
  return {.description = "keeps what the last prompt queries attend to, pooled, and these last positions",
          .source = "FFY0/AdaKV@efe4e2e",
          .parameters = parameters,
          .build = [](const Parameters& given) {
            WindowScoring scoring;
            scoring.window = given.integer("window");
            scoring.kernel = given.integer("kernel");
            scoring.pooling = given.choice("pooling") == "avg" ? Pooling::kAverage : Pooling::kMax;
            const std::string& reduction = given.choice("reduction");
            scoring.reduction = reduction == "mean"  ? Reduction::kMean
                                : reduction == "max" ? Reduction::kMax
                                                     : Reduction::kSum;
            scoring.granularity = granularity_from(given);
            Policy policy;
            policy.variant = given.choice("variant");
            policy.scorer = window_attention_scorer(scoring);
            policy.allocator = uniform_allocator();
            policy.selector = top_selector();
            policy.protection = {given.integer("sinks"), scoring.window};
            policy.granularity = scoring.granularity;
            return policy;
          }};
}

}  // namespace evictlab::sim
