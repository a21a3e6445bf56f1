#include "analysis/loss_input.hpp"

#include <fmt/format.h>

#include <stdexcept>

namespace evictlab::analysis {

using trace::Index;
using trace::LayerShape;
using trace::TensorView;

void require_kept_sets(const LayerShape& shape, const KeptSets& kept) {
  if (static_cast<Index>(kept.size()) != shape.query_heads) {
    throw std::invalid_argument(fmt::format("{} kept sets for {} query heads", kept.size(), shape.query_heads));
  }
  for (const std::span<const std::int32_t> positions : kept) {
    Index previous = -1;
    for (const std::int32_t position : positions) {
      if (position <= previous || position >= shape.prompt_length) {
        throw std::invalid_argument(fmt::format("kept position {} after {} in a prompt of {}: not ascending or outside",
                                                position, previous, shape.prompt_length));
      }
      previous = position;
    }
  }
}

void require_shape(const char* what, const TensorView& tensor, Index heads, Index rows, Index columns) {
  if (tensor.heads() != heads || tensor.rows() != rows || tensor.columns() != columns) {
    throw std::invalid_argument(fmt::format("{} is [{}, {}, {}] where [{}, {}, {}] is needed", what, tensor.heads(),
                                            tensor.rows(), tensor.columns(), heads, rows, columns));
  }
}

}  // namespace evictlab::analysis
