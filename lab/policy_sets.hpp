#pragma once

// The policies that a use case takes where the user names none. A new policy joins the lists it belongs to here.

namespace evictlab::lab {

/// Those that `advise` chooses from: methods that an engine could run.
inline constexpr const char* kAdvisedPolicies =
    "streaming-llm,h2o,tova,snapkv,pyramidkv,ada-snapkv,ada-pyramid,cake,windowkv,criticalkv,critical-adakv,chunkkv";

/// Those whose scorers `fit` may use: accumulated attention, the last query's and the window's.
inline constexpr const char* kFitPolicies = "h2o,h2o(variant=kvpress),tova,snapkv";

/// Those that the demo replays: the well-known methods between the controls and the ceiling.
inline constexpr const char* kDemoPolicies =
    "full,random,protect-only,streaming-llm,h2o,tova,snapkv,pyramidkv,ada-snapkv,dynamickv,cake,oracle";

/// Those of them that the demo replays of a real model: fewer, as its layers are more and wider.
inline constexpr const char* kDemoChatPolicies = "random,streaming-llm,h2o,tova,snapkv,ada-snapkv,cake,oracle";

/// Those of both that the demo also runs live.
inline constexpr const char* kDemoLivePolicies = "streaming-llm,h2o,tova,snapkv,ada-snapkv,cake";

/// Those that `report` replays from a trace.
inline constexpr const char* kReportPolicies =
    "full,random,protect-only,streaming-llm,h2o,tova,snapkv,ada-snapkv,pyramidkv,dynamickv,cake,oracle";

/// Those whose scorers `analyze` compares with the attention of the future.
inline constexpr const char* kScorerPolicies = "random,h2o,tova,snapkv,cake,expected-attention,knorm,keydiff,lagkv";

}  // namespace evictlab::lab
