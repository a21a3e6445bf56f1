#pragma once

#include <vector>

#include "runtime/observer.hpp"

namespace evictlab::testing {

/// Keeps all softmax rows of a forward pass over positions 0 .. n-1, and checks the order they come in.
class AttentionCapture : public runtime::ForwardObserver {
 public:
  AttentionCapture(runtime::Index layers, runtime::Index heads, runtime::Index n)
      : layers_(static_cast<std::size_t>(layers),
                std::vector<runtime::RowMatrix>(static_cast<std::size_t>(heads), runtime::RowMatrix::Zero(n, n))),
        next_(static_cast<std::size_t>(layers), std::vector<runtime::Index>(static_cast<std::size_t>(heads), 0)) {}

  void on_attention(runtime::Index layer, runtime::Index head, runtime::Index first,
                    const runtime::RowMatrixView& rows) override {
    runtime::Index& next = next_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(head)];
    EXPECT_EQ(first, next) << "a head's queries come in ascending order, each once";
    next = first + rows.rows();
    layers_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(head)].block(first, 0, rows.rows(), rows.cols()) =
        rows;
  }
  void on_layer_end(runtime::Index layer) override { ended.push_back(layer); }

  /// [n, n]: row = query position, column = key position.
  const runtime::RowMatrix& probabilities(runtime::Index layer, runtime::Index head) const {
    return layers_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(head)];
  }

  std::vector<runtime::Index> ended;

 private:
  std::vector<std::vector<runtime::RowMatrix>> layers_;
  std::vector<std::vector<runtime::Index>> next_;
};

}  // namespace evictlab::testing
