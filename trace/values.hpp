#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "trace/layer.hpp"

// What the numbers of a layer can be. Every way into a trace and out of it asks here: recorders, imports, readers and
// verify_trace.

namespace evictlab::trace {

/// How far a stored row of attention over `terms` positions may be from summing to one. Half: each value is rounded to
/// 11 significant bits, or, below the normal range, to a multiple of 2^-24 of what is stored, which is the probability
/// times `scale`. Float: whoever records computes the softmax in float.
double row_tolerance(Index terms, double scale);

/// How far, relative to the number of queries, a head's mass may be from it, and a position's mass above the number of
/// queries that see the position.
inline constexpr double kMassTolerance = 1e-4;

/// How far, relative to the sum of the norms of two vectors, their sum's norm may be beyond what the triangle
/// inequality allows: norms are stored as floats, and models that add in half precision round the sum.
inline constexpr double kNormTolerance = 0.01;

/// A softmax row, as the query at position `last` pays it: to positions `first` to `last`.
struct RowLimits {
  Index first = 0;
  Index last = 0;
  double tolerance = 0.0;     // of the sum
  bool learned_sink = false;  // takes part of the row: it may sum to less than 1, never to more
};
/// Says what is wrong with a row of probabilities; empty = nothing.
std::string row_problem(std::span<const double> row, const RowLimits& limits);

/// Called with the stored bytes of a tensor, piece by piece in order, before they are looked at: who needs them as well
/// (a hash) has them while they are in the processor's cache.
using BytesVisitor = std::function<void(std::span<const std::byte>)>;

struct ValueCheck {
  bool learned_sink = false;  // of the layer: a field's rows may sum to less than 1
  BytesVisitor visit = {};
};

/// Says what is wrong with the first bad value of a field, beginning with "head <h>" where it is one head's; empty =
/// nothing. All values are finite. Window attention: rows as row_problem() wants them, within the layer's sliding
/// window. Masses: no position has more than the queries that see it, and together they have as much as there are
/// queries (or less, beside a learned sink). Norms and variances: not negative; residual norms: as the triangle
/// inequality wants them. The tensor has the shape of field_shape().
std::string value_problem(Field field, const Tensor& tensor, const LayerShape& shape, const ValueCheck& check = {});

/// The same of an output weight [H*d, hidden], and of token ids.
std::string output_weight_problem(const RowMatrix& weight);
std::string tokens_problem(std::span<const std::int32_t> tokens);

}  // namespace evictlab::trace
