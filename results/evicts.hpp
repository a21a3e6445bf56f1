#pragma once

#include <string_view>

namespace evictlab::results {

/// Where and when a policy evicts; runs of different kinds teach different maps, and those in one place none.
enum class Evicts {
  kAtPrompt,       // once, at the end of the prompt, in all layers
  kWhileDecoding,  // and goes on while the answer is decoded
  kInOnePlace      // in one layer or head alone
};
/// Of a policy with these parameters.
Evicts evicts(std::string_view parameters);
/// What the column `eviction` says: "prompt", "decode", "place".
std::string_view evicts_name(Evicts evicts);

}  // namespace evictlab::results
