#pragma once

#include <cstdint>

#include "sim/policy/parameters.hpp"
#include "sim/policy/parts.hpp"

// Parameters that several policies have, declared and read alike.

namespace evictlab::sim {

inline constexpr std::int64_t kMaxPositions = std::int64_t{1} << 31;

/// "sinks" and "window": what is protected.
void declare_protection(ParameterList& parameters, std::int64_t sinks, std::int64_t window);
Protection protection_from(const Parameters& parameters);

/// "axis": kv (default) or query.
void declare_axis(ParameterList& parameters);
Granularity granularity_from(const Parameters& parameters);

/// "reduction": mean (default), max or sum over the query heads of a kv head.
void declare_reduction(ParameterList& parameters);
Reduction reduction_from(const Parameters& parameters);

/// "kernel" and "pooling": what a position gets of its neighbours.
void declare_pooling(ParameterList& parameters);

/// "window", "kernel", "pooling", "order", "reduction" and "axis": SnapKV's score, and "sinks" protected besides.
/// `defaults` where they differ from AdaKV's.
void declare_window_scoring(ParameterList& parameters, const KeyValues& defaults = {});
WindowScoring window_scoring_from(const Parameters& parameters);
/// What kvpress' defaults of these are: window 64, average pooling over 5 before the reduction.
KeyValues kvpress_scoring();

/// "beta": how steeply a pyramid falls.
void declare_beta(ParameterList& parameters);
/// "floor_alpha": what is not left to competition between heads.
void declare_floor_alpha(ParameterList& parameters);
/// "floor_alpha", "normalize" and "skip": how heads compete (adaptive_allocator).
void declare_adaptive(ParameterList& parameters);
AdaptiveRule adaptive_rule_from(const Parameters& parameters);
/// "sinks", "lag" and "cross" (lag_scorer).
void declare_lag_scoring(ParameterList& parameters);
LagScoring lag_scoring_from(const Parameters& parameters);
/// "future", "sinks", "covariance", "values" and "epsilon" (expected_attention_scorer).
void declare_expected_scoring(ParameterList& parameters);
ExpectedScoring expected_scoring_from(const Parameters& parameters);
/// "kernel" and "gamma" (mean_variance_scorer); the window is the policy's, at least 2.
void declare_mean_variance(ParameterList& parameters);
MeanVarianceScoring mean_variance_scoring_from(const Parameters& parameters);
/// "tau1", "tau2", "model" and "cascading" (preference_allocator).
void declare_preference(ParameterList& parameters);
/// The window is the policy's; `exact` as the variant has it.
PreferenceRule preference_rule_from(const Parameters& parameters, bool exact);
/// "decode": whether a policy goes on evicting while the answer is generated.
void declare_decode(ParameterList& parameters);
bool decodes(const Parameters& parameters);
/// "first_stage" and "epsilon" (two_stage_selector).
void declare_two_stage(ParameterList& parameters);
TwoStageRule two_stage_rule_from(const Parameters& parameters);

}  // namespace evictlab::sim
