#pragma once

#include "trace/layer.hpp"

namespace evictlab::sim {

/// What a part of a policy reads of a prompt. Checked against a trace before anything runs.
struct Needs {
  trace::Fields fields;
  trace::Index window_rows = 0;  // the last so many rows of window_attention
  bool future = false;           // reads what policies must not see: the oracle alone
};

}  // namespace evictlab::sim
