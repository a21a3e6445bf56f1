#pragma once

#include <algorithm>
#include <vector>

#include "trace/layer.hpp"
#include "trace/model.hpp"

namespace evictlab::testing {

using trace::Index;

/// Rows of numbers as a float tensor [heads, rows, columns].
inline trace::Tensor tensor(Index heads, Index rows, Index columns, const std::vector<float>& values) {
  trace::Tensor result(trace::ElementType::kFloat32, heads, rows, columns);
  std::copy(values.begin(), values.end(), result.floats().begin());
  return result;
}

/// Two query heads that share one kv head; five positions, the last two of which are the recorded window.
/// Mean over the window of positions 0..2: head 0 (.4 .2 .1), head 1 (.1 .2 .4); over both (.25 .2 .25).
inline trace::LayerData two_heads_five_positions() {
  trace::LayerData layer;
  layer.shape = {.layer = 0,
                 .layers = 1,
                 .query_heads = 2,
                 .kv_heads = 1,
                 .head_dim = 4,
                 .prompt_length = 5,
                 .future_length = 1,
                 .window = 2,
                 .sliding_window = 0,
                 .attention_scale = 0.5};
  layer.window_attention = tensor(2, 2, 5, {.5F, .1F, .1F, .3F, .0F, .3F, .3F, .1F, .1F, .2F,    //
                                            .1F, .1F, .5F, .3F, .0F, .1F, .3F, .3F, .1F, .2F});  //
  return layer;
}

}  // namespace evictlab::testing
