#include "trace/synthetic_attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

namespace evictlab::trace {
namespace {

constexpr double kLeastExponent = -746.0;  // exp() of less is zero

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

/// exp(scale * difference), computed once for a run of equal differences: most keys are alike.
class Weights {
 public:
  explicit Weights(double scale) : scale_(scale) {}
  double operator()(double difference) {
    if (difference == last_) return weight_;
    last_ = difference;
    const double exponent = scale_ * difference;
    return weight_ = exponent < kLeastExponent ? 0.0 : std::exp(exponent);
  }

 private:
  double scale_;
  double last_ = 0.0;
  double weight_ = 1.0;
};

/// sum * exp(scale * reference): logits grow with the prompt, far beyond what exp() can hold. The reference stays a
/// logit as it is, unscaled, so that differences of logits are exact.
struct ScaledSum {
  double reference = 0.0;
  double sum = 0.0;
};

ScaledSum plus(ScaledSum a, ScaledSum b, Weights& weights) {
  if (b.sum == 0.0) return a;
  if (a.sum == 0.0) return b;
  if (a.reference < b.reference) std::swap(a, b);
  a.sum += weights(b.reference - a.reference) * b.sum;
  return a;
}

// result[i] = terms[max(0, i-window+1)] + ... + terms[i]. Nothing is ever subtracted, which would cancel: the terms are
// cut into blocks of `window`, so that such a range is the end of one block and the beginning of the next.
std::vector<ScaledSum> trailing_sums(std::span<const ScaledSum> terms, Index window, Weights& weights) {
  const auto count = static_cast<Index>(terms.size());
  std::vector<ScaledSum> result(terms.size());
  for (Index block = 0; block < count; block += window) {
    const Index block_end = std::min(block + window, count);
    ScaledSum beginning;
    for (Index i = block; i < block_end; ++i) result[at(i)] = beginning = plus(beginning, terms[at(i)], weights);
    if (block == 0) continue;
    ScaledSum ending;  // of the block before: from i-window+1 on
    for (Index i = block + window - 2; i >= block; --i) {
      ending = plus(ending, terms[at(i - window + 1)], weights);
      if (i < block_end) result[at(i)] = plus(ending, result[at(i)], weights);
    }
  }
  return result;
}

}  // namespace

void softmax_row(std::span<const double> logits, double scale, Index first, Index t, std::span<double> row) {
  const double largest = *std::max_element(logits.begin() + first, logits.begin() + t + 1);
  Weights weights(scale);
  double sum = 0.0;
  for (Index j = first; j <= t; ++j) sum += row[at(j)] = weights(logits[at(j)] - largest);
  for (Index j = first; j <= t; ++j) row[at(j)] /= sum;
}

// With Z_t = the sum of exp(scale * logits[j]) over the positions that query t sees, position j gets
// exp(scale * logits[j]) * (the sum of 1 / Z_t over the queries that see it): two sums over ranges.
std::vector<double> attention_mass(std::span<const double> logits, double scale, Index sliding_window, Index begin,
                                   Index end) {
  const Index window = sliding_window == 0 ? end : sliding_window;
  Weights weights(scale);
  std::vector<ScaledSum> terms(at(end));
  for (Index j = 0; j < end; ++j) terms[at(j)] = {logits[at(j)], 1.0};
  const std::vector<ScaledSum> normalisers = trailing_sums(terms, window, weights);

  // Last query first: those that see position j are j .. j+window-1, which trail in this order.
  std::ranges::fill(terms, ScaledSum{});
  for (Index t = begin; t < end; ++t) {
    terms[at(end - 1 - t)] = {-normalisers[at(t)].reference, 1.0 / normalisers[at(t)].sum};
  }
  const std::vector<ScaledSum> inverses = trailing_sums(terms, window, weights);
  std::vector<double> mass(at(end));
  for (Index j = 0; j < end; ++j) {
    const ScaledSum& inverse = inverses[at(end - 1 - j)];
    if (inverse.sum > 0.0) mass[at(j)] = inverse.sum * weights(logits[at(j)] + inverse.reference);
  }
  return mass;
}

}  // namespace evictlab::trace
