#include "sim/policy/scores_from.hpp"

namespace evictlab::sim {

std::string_view scores_from_name(ScoresFrom from) {
  switch (from) {
    case ScoresFrom::kKeys:
      return "keys";
    case ScoresFrom::kWindow:
      return "window";
    case ScoresFrom::kAll:
      break;
  }
  return "all";
}

ScoresFrom scores_from(const Needs& needs) {
  for (const trace::Field field : {trace::Field::kAttentionMass, trace::Field::kRepeatAttention}) {
    if (needs.fields.contains(field)) return ScoresFrom::kAll;
  }
  return needs.window_rows > 0 ? ScoresFrom::kWindow : ScoresFrom::kKeys;
}

}  // namespace evictlab::sim
