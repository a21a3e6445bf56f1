#include "trace/values.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/row_sum.hpp"

namespace evictlab::trace {

double row_tolerance(Index terms, double scale) {
  return std::ldexp(1.0, -11) + static_cast<double>(terms) * std::ldexp(1.0, -25) / scale + 1e-5;
}

namespace {

/// Whether this may be the sum of so many softmax rows.
bool is_sum_of(double rows, double sum, double tolerance, bool learned_sink) {
  return sum <= rows + tolerance && (sum >= rows - tolerance || learned_sink);
}

/// The tolerance of a sum that may itself be wrong by core::kRowSumError: what is inside is sound, the rest is added up
/// exactly.
double safe_tolerance(double rows, double tolerance) { return tolerance - 2.0 * core::kRowSumError * rows; }

}  // namespace

std::string row_problem(std::span<const double> row, const RowLimits& limits) {
  double sum = 0.0;
  for (std::size_t j = 0; j < row.size(); ++j) {
    const auto position = static_cast<Index>(j);
    if (!std::isfinite(row[j]) || row[j] < 0.0) {
      return fmt::format("query {}: attention to position {} is {}, no probability: {}", limits.last, j, row[j],
                         std::isfinite(row[j]) ? "negative" : "not finite");
    }
    if (row[j] != 0.0 && (position < limits.first || position > limits.last)) {
      return fmt::format("query {} attends to position {}, but sees only {} to {}", limits.last, j, limits.first,
                         limits.last);
    }
    sum += row[j];
  }
  if (is_sum_of(1.0, sum, limits.tolerance, limits.learned_sink)) return "";
  return fmt::format("the row of query {} sums to {:.6f}, {} 1", limits.last, sum,
                     limits.learned_sink ? "more than" : "not");
}

namespace {

/// Says where the first value is that is not finite or, where that is wrong, negative.
std::string number_problem(const Tensor& tensor, Index head, bool non_negative) {
  std::vector<float> values(static_cast<std::size_t>(tensor.columns()));
  for (Index row = 0; row < tensor.rows(); ++row) {
    tensor.view().copy_row(head, row, values);
    for (std::size_t column = 0; column < values.size(); ++column) {
      const float value = values[column];
      if (std::isfinite(value) && !(non_negative && value < 0.0F)) continue;
      return fmt::format("{} at [{}, {}], must be finite{}", value, row, column,
                         non_negative ? " and not negative" : "");
    }
  }
  return "";
}

// ---- attention ------------------------------------------------------------------------------------

std::string window_problem(const Tensor& tensor, Index head, Index r, const LayerShape& shape, bool learned_sink) {
  const Index position = shape.prompt_length - shape.window + r;
  const Index first = shape.first_seen(position);
  const auto scale = static_cast<double>(tensor.scale());
  const RowLimits limits{first, position, row_tolerance(position - first + 1, scale), learned_sink};
  const std::span<const core::Half> stored = tensor.view().half_row(head, r);
  const auto from = static_cast<std::size_t>(first);
  const auto count = static_cast<std::size_t>(position - first + 1);
  const auto is_zero = [](const core::RowSum& sum) { return sum.regular && sum.largest == 0.0F; };
  const core::RowSum seen = core::row_sum(stored.subspan(from, count));
  if (seen.regular && is_sum_of(1.0, seen.sum / scale, safe_tolerance(1.0, limits.tolerance), limits.learned_sink) &&
      is_zero(core::row_sum(stored.first(from))) && is_zero(core::row_sum(stored.subspan(from + count)))) {
    return "";
  }
  std::vector<float> values(stored.size());
  tensor.view().copy_row(head, r, values);
  return row_problem(std::vector<double>(values.begin(), values.end()), limits);
}

/// The queries whose mass a field holds: `count` of them from position `first` on.
struct Payers {
  Index first;
  Index count;
  Index sliding_window;

  /// How many of them see a position. In a range of positions, nowhere fewer than at one of its ends.
  Index seeing(Index position) const {
    Index last = first + count - 1;
    if (sliding_window > 0) last = std::min(last, position + sliding_window - 1);
    return std::max<Index>(0, last - std::max(first, position) + 1);
  }
};

/// The largest mass that so many queries can have paid to one position.
double most(Index queries) { return static_cast<double>(queries) * (1.0 + kMassTolerance); }

std::string position_problem(std::span<const float> masses, Index first_position, const Payers& payers) {
  for (std::size_t i = 0; i < masses.size(); ++i) {
    const Index position = first_position + static_cast<Index>(i);
    const Index seeing = payers.seeing(position);
    if (static_cast<double>(masses[i]) > most(seeing)) {
      return fmt::format("position {} has mass {:.6g}, but only {} queries see it", position, masses[i], seeing);
    }
  }
  return "";
}

std::string mass_problem(const Tensor& tensor, Index head, const Payers& payers, bool learned_sink) {
  constexpr std::size_t kBlock = 1024;  // positions at once: few blocks come near what all of their positions may have
  const std::span<const float> masses = tensor.view().float_row(head, 0);
  double sum = 0.0;
  for (std::size_t begin = 0; begin < masses.size(); begin += kBlock) {
    const auto block = masses.subspan(begin, std::min(kBlock, masses.size() - begin));
    const auto first = static_cast<Index>(begin);
    const core::RowSum found = core::row_sum(block);
    if (!found.regular) {
      if (std::string problem = number_problem(tensor, head, true); !problem.empty()) return problem;
    }
    sum += found.sum;
    const Index seeing = std::min(payers.seeing(first), payers.seeing(first + static_cast<Index>(block.size()) - 1));
    if (found.regular && static_cast<double>(found.largest) <= most(seeing)) continue;
    if (std::string problem = position_problem(block, first, payers); !problem.empty()) return problem;
  }
  const auto queries = static_cast<double>(payers.count);
  const double tolerance = kMassTolerance * queries;
  if (is_sum_of(queries, sum, safe_tolerance(queries, tolerance), learned_sink)) return "";
  sum = std::accumulate(masses.begin(), masses.end(), 0.0);
  if (is_sum_of(queries, sum, tolerance, learned_sink)) return "";
  return fmt::format("sums to {:.6g}, expected {}{}, the number of queries", sum, learned_sink ? "at most " : "",
                     payers.count);
}

// ---- any field ------------------------------------------------------------------------------------

std::string norms_problem(const Tensor& tensor, Index head) {
  return core::row_sum(tensor.view().float_row(head, 0)).regular ? "" : number_problem(tensor, head, true);
}

/// Norms of two vectors and of their sum, [3, T].
std::string triangle_problem(const Tensor& norms) {
  for (Index stream = 0; stream < norms.heads(); ++stream) {
    if (const std::string problem = norms_problem(norms, stream); !problem.empty()) {
      return fmt::format("stream {}: {}", stream, problem);
    }
  }
  for (std::size_t t = 0; t < static_cast<std::size_t>(norms.columns()); ++t) {
    const auto norm = [&](Index stream) { return static_cast<double>(norms.view().float_row(stream, 0)[t]); };
    const double longest = norm(0) + norm(1);
    const double shortest = std::abs(norm(0) - norm(1));
    if (norm(2) <= longest + kNormTolerance * longest && norm(2) >= shortest - kNormTolerance * longest) continue;
    return fmt::format("future query {}: vectors of norms {:.6g} and {:.6g} have no sum of norm {:.6g}", t, norm(0),
                       norm(1), norm(2));
  }
  return "";
}

std::string row_problem(Field field, const Tensor& tensor, Index head, Index row, const LayerShape& shape,
                        bool learned_sink) {
  switch (field) {
    case Field::kWindowAttention:
      return window_problem(tensor, head, row, shape, learned_sink);
    case Field::kAttentionMass:
      return mass_problem(tensor, head, {0, shape.prompt_length, shape.sliding_window}, learned_sink);
    case Field::kFutureMass:
      return mass_problem(tensor, head, {shape.prompt_length, shape.future_length, shape.sliding_window}, learned_sink);
    default:
      return norms_problem(tensor, head);
  }
}

/// Of fields whose rows are as long as the prompt.
std::string rows_problem(Field field, const Tensor& tensor, const LayerShape& shape, const ValueCheck& check) {
  const std::span<const std::byte> bytes = tensor.bytes();
  const std::size_t row_bytes = bytes.size() / static_cast<std::size_t>(tensor.heads() * tensor.rows());
  std::size_t begin = 0;
  std::string first;
  for (Index head = 0; head < tensor.heads(); ++head) {
    for (Index row = 0; row < tensor.rows(); ++row, begin += row_bytes) {
      if (check.visit) check.visit(bytes.subspan(begin, row_bytes));
      if (!first.empty()) continue;
      if (const std::string problem = row_problem(field, tensor, head, row, shape, check.learned_sink);
          !problem.empty()) {
        first = fmt::format("head {}: {}", head, problem);
      }
    }
  }
  return first;
}

std::string infinity_problem(const Tensor& tensor) {
  for (Index head = 0; head < tensor.heads(); ++head) {
    if (const std::string problem = number_problem(tensor, head, false); !problem.empty()) {
      return fmt::format("head {}: {}", head, problem);
    }
  }
  return "";
}

/// Of fields of many short rows, which need only be finite.
std::string elements_problem(const Tensor& tensor, const BytesVisitor& visit) {
  constexpr std::size_t kPiece = 32768;  // elements at once, which a processor's cache holds
  const auto look = [&](const auto elements) {
    bool finite = true;
    for (std::size_t begin = 0; begin < elements.size(); begin += kPiece) {
      const auto piece = elements.subspan(begin, std::min(kPiece, elements.size() - begin));
      if (visit) visit(std::as_bytes(piece));
      finite = core::all_finite(piece) && finite;
    }
    return finite;
  };
  const bool half = tensor.element_type() == ElementType::kFloat16;
  return (half ? look(tensor.halves()) : look(tensor.floats())) ? "" : infinity_problem(tensor);
}

std::string variance_problem(const Tensor& covariance) {
  for (Index head = 0; head < covariance.heads(); ++head) {
    for (Index i = 0; i < covariance.columns(); ++i) {
      const float variance = covariance.view().float_row(head, i)[static_cast<std::size_t>(i)];
      if (variance < 0.0F) return fmt::format("head {}: the variance of dimension {} is {}", head, i, variance);
    }
  }
  return "";
}

std::string probability_problem(const Tensor& tensor) {
  constexpr float kRounding = 1e-3F;  // of softmax rows in half precision
  for (Index head = 0; head < tensor.heads(); ++head) {
    for (const float value : tensor.view().float_row(head, 0)) {
      if (value < 0.0F || value > 1.0F + kRounding) return fmt::format("head {}: {} is no probability", head, value);
    }
  }
  return "";
}

}  // namespace

std::string value_problem(Field field, const Tensor& tensor, const LayerShape& shape, const ValueCheck& check) {
  if (kSummaryFields.contains(field)) return rows_problem(field, tensor, shape, check);
  std::string problem = elements_problem(tensor, check.visit);
  if (problem.empty() && field == Field::kQueryCovariance) problem = variance_problem(tensor);
  if (problem.empty() && field == Field::kResidualNorms) problem = triangle_problem(tensor);
  if (problem.empty() && field == Field::kRepeatAttention) problem = probability_problem(tensor);
  return problem;
}

std::string tokens_problem(std::span<const std::int32_t> tokens) {
  const auto negative = std::ranges::find_if(tokens, [](std::int32_t token) { return token < 0; });
  return negative == tokens.end() ? "" : fmt::format("the token id {} is negative", *negative);
}

std::string output_weight_problem(const RowMatrix& weight) {
  const std::span values(weight.data(), static_cast<std::size_t>(weight.size()));
  return core::all_finite(values) ? "" : "holds a value that is not finite";
}

}  // namespace evictlab::trace
