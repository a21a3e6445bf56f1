#include "analysis/losses.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <optional>
#include <stdexcept>

#include "analysis/future_attention.hpp"
#include "analysis/loss_input.hpp"
#include "core/fixed_blocking.hpp"
#include "core/parallel.hpp"
#include "core/weighted_sums.hpp"

namespace evictlab::analysis {
namespace {

using trace::FutureView;
using trace::Index;
using trace::LayerShape;
using trace::RowMatrix;
using trace::TensorView;
using Positions = std::span<const std::int32_t>;

// One head's row of a [H, n+T] tensor as floats: in place where it is stored so.
class FloatRow {
 public:
  FloatRow(const TensorView& tensor, Index head) {
    if (tensor.element_type() == trace::ElementType::kFloat32 && tensor.scale() == 1.0F) {
      row_ = tensor.float_row(head, 0);
    } else {
      copy_.resize(static_cast<std::size_t>(tensor.columns()));
      tensor.copy_row(head, 0, copy_);
      row_ = copy_;
    }
  }
  FloatRow(const FloatRow&) = delete;
  FloatRow& operator=(const FloatRow&) = delete;
  double operator[](Index position) const { return row_[static_cast<std::size_t>(position)]; }

 private:
  std::vector<float> copy_;
  std::span<const float> row_;
};

}  // namespace

// Adds positions to S = sum of A_j v'_j along a head's ranking.
class OutputReference::Walk {
 public:
  Walk(const OutputReference& reference, Index head, const Eigen::MatrixXd& origin)
      : reference_(reference), head_(head), sums_(origin) {}

  /// The sums with the next positions; adding them in parts changes no bit.
  const Eigen::MatrixXd& add(Positions positions) {
    constexpr std::size_t kBlock = 64;
    const Head& head = reference_.heads_[static_cast<std::size_t>(head_)];
    const RowMatrix& values = reference_.values_[static_cast<std::size_t>(reference_.shape_.kv_head_of(head_))];
    const Index d = reference_.shape_.head_dim;
    const Index width = sums_.cols();
    std::array<const float*, kBlock> attention;
    values_.resize(kBlock * static_cast<std::size_t>(width), 0.0);
    for (std::size_t begin = 0; begin < positions.size(); begin += kBlock) {
      const std::size_t size = std::min(kBlock, positions.size() - begin);
      for (std::size_t i = 0; i < size; ++i) {
        const Index column = positions[begin + i] - reference_.first_;
        attention[i] = head.attention.col(column).data();
        double* row = values_.data() + i * static_cast<std::size_t>(width);
        std::copy_n(values.row(column).data(), d, row);
        row[d] = 1.0;
        row[d + 1] = head.output_norms[column];
      }
      core::add_weighted_values(std::span(attention).first(size),
                                std::span(values_).first(size * static_cast<std::size_t>(width)),
                                static_cast<std::size_t>(sums_.rows()), static_cast<std::size_t>(width),
                                {sums_.data(), static_cast<std::size_t>(sums_.size())});
    }
    return sums_;
  }

 private:
  const OutputReference& reference_;
  Index head_;
  Eigen::MatrixXd sums_;        // [T padded, d+2 padded]
  std::vector<double> values_;  // [kBlock, d+2 padded]: v'_j, zeros behind it
};

OutputReference::OutputReference(const LayerShape& shape, const FutureView& future, const RowMatrix& output_weight)
    : shape_(shape),
      first_(shape.first_visible()),
      heads_(static_cast<std::size_t>(shape.query_heads)),
      values_(static_cast<std::size_t>(shape.kv_heads)),
      projection_(output_weight) {
  static_assert(TiledRows::kRows % core::kWeightTile == 0);
  core::use_fixed_blocking();
  const Index positions = shape.prompt_length + shape.future_length;
  const Index d = shape.head_dim;
  require_shape("future queries", future.queries, shape.query_heads, shape.future_length, d);
  require_shape("keys", future.keys, shape.kv_heads, positions, d);
  require_shape("values", future.values, shape.kv_heads, positions, d);
  require_shape("output norms", future.output_norms, shape.query_heads, 1, positions);
  if (output_weight.rows() != shape.query_heads * d) {
    throw std::invalid_argument(
        fmt::format("W_O has {} rows for {} heads of {}", output_weight.rows(), shape.query_heads, d));
  }
  const Index visible = positions - first_;
  std::vector<std::int32_t> all(static_cast<std::size_t>(visible));
  std::iota(all.begin(), all.end(), static_cast<std::int32_t>(first_));
  const Positions prompt = Positions(all).first(static_cast<std::size_t>(shape.prompt_length - first_));
  const Positions generated = Positions(all).subspan(prompt.size());

  std::vector<TiledRows> output;
  TiledRows& rows = output.emplace_back(shape.future_length, output_weight.rows());
  core::parallel_for(values_.size(), [&](std::size_t kv_head) {
    const auto g = static_cast<Index>(kv_head);
    const RowMatrix attention = future_attention(shape, future, g, first_);
    values_[kv_head] = future.values.row_range(first_, visible).copy_head(g);
    for (Index h = g * shape.group_size(); h < (g + 1) * shape.group_size(); ++h) {
      Head& head = heads_[static_cast<std::size_t>(h)];
      head.attention.resize(padded(), visible);
      head.attention.bottomRows(padded() - shape.future_length).setZero();
      head.attention.topRows(shape.future_length) =
          attention.middleRows(h % shape.group_size() * shape.future_length, shape.future_length);
      const FloatRow norms(future.output_norms, h);
      head.output_norms.resize(visible);
      for (Index j = 0; j < visible; ++j) head.output_norms[j] = norms[first_ + j];
      const Eigen::MatrixXd nothing = Eigen::MatrixXd::Zero(padded(), padded_width());
      Walk walk(*this, h, nothing);
      head.future = walk.add(generated);
      head.all = walk.add(prompt);
      write_difference(h, head.all, nothing, rows);
    }
  });
  MatrixNorms norms = std::move(projection_.norms(output).front());
  output_norm_ = norms.absolute;
  output_squares_ = std::move(norms.squared);
  if (!future.output_gradients.empty()) gradients_.emplace(shape, future.output_gradients, output_weight);
  if (future.residual_norms.empty()) return;
  require_shape("residual norms", future.residual_norms, 3, 1, shape.future_length);
  const FloatRow sums(future.residual_norms, 2);
  for (Index t = 0; t < shape.future_length; ++t) stream_squares_.push_back(sums[t] * sums[t]);
}

Index OutputReference::padded_width() const {
  constexpr Index kTile = core::kValueTile;
  return (shape_.head_dim + 2 + kTile - 1) / kTile * kTile;
}

RowMatrix OutputReference::attention(Index first, Index count) const {
  RowMatrix sum = RowMatrix::Zero(shape_.future_length, shape_.prompt_length + shape_.future_length);
  for (Index h = first; h < first + count; ++h) {
    const Eigen::MatrixXf& head = heads_[static_cast<std::size_t>(h)].attention;
    sum.rightCols(head.cols()) += head.topRows(shape_.future_length);
  }
  return sum;
}

double OutputReference::write_difference(Index h, const Eigen::MatrixXd& lost, const Eigen::MatrixXd& held,
                                         TiledRows& rows) const {
  constexpr Index kRows = TiledRows::kRows;
  const Index d = shape_.head_dim;
  double value_bound = 0;
  for (Index tile = 0; tile < rows.tiles(); ++tile) {
    const Index first = tile * kRows;
    std::array<double, kRows> ratio;
    for (Index r = 0; r < kRows; ++r) {
      // A query that holds nothing (its own weight underflows) gets y^ = 0.
      const double mass = held(first + r, d);
      const auto i = static_cast<std::size_t>(r);
      ratio[i] = mass > 0 ? std::max(0.0, lost(first + r, d)) / mass : 0.0;
      value_bound += std::max(0.0, lost(first + r, d + 1)) + ratio[i] * held(first + r, d + 1);
    }
    for (Index column = 0; column < d; ++column) {
      const double* from = lost.col(column).data() + first;
      const double* kept = held.col(column).data() + first;
      float* to = rows.tile(tile, h * d + column);
      for (std::size_t r = 0; r < kRows; ++r) to[r] = static_cast<float>(from[r] - ratio[r] * kept[r]);
    }
  }
  return value_bound;
}

OutputLosses OutputReference::output_losses(double value_bound, const MatrixNorms& norms,
                                            const TiledRows& difference) const {
  const auto queries = static_cast<double>(shape_.future_length);
  const auto ratio = [](double lost, double whole) { return whole > 0 ? lost / whole : 0.0; };
  OutputLosses losses;
  losses.value_bound = value_bound / queries;
  losses.exact_loss = norms.absolute / queries;
  losses.relative_loss = ratio(norms.absolute, output_norm_);
  for (std::size_t t = 0; t < static_cast<std::size_t>(shape_.future_length); ++t) {
    const double lost = norms.squared[t];
    const double to_output = ratio(lost, output_squares_[t]);
    losses.squared_error += lost / queries;
    losses.output_relative_squared_error += to_output / queries;
    losses.by_query.push_back({static_cast<float>(lost), static_cast<float>(to_output)});
    if (stream_squares_.empty()) continue;
    losses.stream_relative_errors.push_back(static_cast<float>(std::sqrt(ratio(lost, stream_squares_[t]))));
  }
  if (gradients_) losses.fisher = gradients_->loss(difference);
  return losses;
}

std::optional<double> OutputLosses::stream_relative_squared_error() const {
  if (stream_relative_errors.empty()) return {};
  double sum = 0;
  for (const float error : stream_relative_errors) sum += double{error} * double{error};
  return sum / static_cast<double>(stream_relative_errors.size());
}

double mean_of_largest_tenth(std::vector<float> values) {
  if (values.empty()) return 0.0;
  const auto tenth = static_cast<std::ptrdiff_t>((values.size() + 9) / 10);
  std::ranges::nth_element(values, values.begin() + tenth - 1, std::greater<>());
  std::ranges::sort(values.begin(), values.begin() + tenth, std::greater<>());  // or the sum's order would be chance's
  return std::accumulate(values.begin(), values.begin() + tenth, 0.0) / static_cast<double>(tenth);
}

OutputLosses OutputReference::losses(const KeptSets& kept) const {
  require_kept_sets(shape_, kept);
  const Index nothing = 0;
  std::vector<NestedSets> heads;
  for (const Positions positions : kept) {
    const auto visible = std::ranges::lower_bound(positions, static_cast<std::int32_t>(first_));
    heads.push_back({.always = {visible, positions.end()}, .ranked = {}, .counts = {&nothing, 1}});
  }
  return losses(heads).front();
}

std::vector<OutputLosses> OutputReference::losses(std::span<const NestedSets> heads) const {
  if (heads.size() != heads_.size()) {
    throw std::invalid_argument(fmt::format("sets of {} heads for {} query heads", heads.size(), heads_.size()));
  }
  const std::size_t runs = heads.front().counts.size();
  std::vector<Index> totals(runs, 0);  // positions held by all heads
  for (const NestedSets& sets : heads) {
    if (sets.counts.size() != runs) {
      throw std::invalid_argument(fmt::format("{} counts where another head has {}", sets.counts.size(), runs));
    }
    for (std::size_t run = 0; run < runs; ++run) {
      if (sets.counts[run] > static_cast<Index>(sets.ranked.size())) {
        throw std::invalid_argument(fmt::format("{} of {} ranked positions", sets.counts[run], sets.ranked.size()));
      }
      totals[run] += sets.counts[run];
    }
  }
  std::vector<OutputLosses> losses(runs);
  if (shape_.future_length == 0) return losses;

  // As many at once as fit into a third-level cache. The walks go on from one batch to the next.
  constexpr std::size_t kBatchBytes = 16 << 20;
  const Index columns = shape_.query_heads * shape_.head_dim;
  const std::size_t batch =
      std::max<std::size_t>(1, kBatchBytes / sizeof(float) / static_cast<std::size_t>(padded() * columns));
  std::vector<std::size_t> order(runs);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t run) { return totals[run]; });
  struct Progress {
    std::optional<Walk> walk;
    Index count = 0;
  };
  std::vector<Progress> progress(heads.size());
  std::vector<double> bounds(heads.size() * runs, 0.0);  // [heads][runs]
  for (std::size_t begin = 0; begin < runs; begin += batch) {
    const std::span members = std::span(order).subspan(begin, std::min(batch, runs - begin));
    std::vector<TiledRows> differences;
    for (std::size_t i = 0; i < members.size(); ++i) differences.emplace_back(shape_.future_length, columns);
    core::parallel_for(heads.size(), [&](std::size_t h) {
      const NestedSets& sets = heads[h];
      const Head& head = heads_[h];
      auto& [walk, walked] = progress[h];
      for (std::size_t i = 0; i < members.size(); ++i) {
        const Index count = sets.counts[members[i]];
        if (static_cast<Index>(sets.always.size()) + count == shape_.prompt_length - first_) continue;  // all is held
        // Runs that hold more in all may hold less in one head.
        if (!walk || count < walked) {
          walk.emplace(*this, static_cast<Index>(h), head.future).add(sets.always);
          walked = 0;
        }
        const Eigen::MatrixXd& held =
            walk->add(sets.ranked.subspan(static_cast<std::size_t>(walked), static_cast<std::size_t>(count - walked)));
        walked = count;
        bounds[h * runs + members[i]] = write_difference(static_cast<Index>(h), head.all - held, held, differences[i]);
      }
    });
    const std::vector<MatrixNorms> norms = projection_.norms(differences);
    core::parallel_for(members.size(), [&](std::size_t i) {
      double value_bound = 0;
      for (std::size_t h = 0; h < heads.size(); ++h) value_bound += bounds[h * runs + members[i]];
      losses[members[i]] = output_losses(value_bound, norms[i], differences[i]);
    });
  }
  return losses;
}

std::vector<double> OutputReference::head_losses(Index kv_head, const NestedSets& sets, const Eigen::MatrixXf& gram,
                                                 ErrorUnit unit) const {
  const std::size_t runs = sets.counts.size();
  const Index queries = shape_.future_length;
  const Index d = shape_.head_dim;
  if (!std::ranges::is_sorted(sets.counts) || (runs > 0 && sets.counts.back() > std::ssize(sets.ranked))) {
    throw std::invalid_argument("counts of a head must rise, up to all of its ranked positions");
  }
  if (unit == ErrorUnit::kStream && stream_squares_.empty()) {
    throw std::invalid_argument("norms of the residual stream are not recorded");
  }
  if (unit == ErrorUnit::kFisher && !gradients_) throw std::invalid_argument("gradients are not recorded");
  std::vector<double> losses(runs, 0.0);
  if (queries == 0) return losses;
  // One query's delta of all heads a row, a run's queries together.
  const Index columns = shape_.group_size() * d;
  RowMatrix differences = RowMatrix::Zero(static_cast<Index>(runs) * queries, columns);
  for (Index i = 0; i < shape_.group_size(); ++i) {
    const Index h = kv_head * shape_.group_size() + i;
    const Head& head = heads_[static_cast<std::size_t>(h)];
    Walk walk(*this, h, head.future);
    walk.add(sets.always);
    Index walked = 0;
    for (std::size_t run = 0; run < runs; ++run) {
      const Index count = sets.counts[run];
      if (std::ssize(sets.always) + count == shape_.prompt_length - first_) break;  // all is held from here on
      const Eigen::MatrixXd& held =
          walk.add(sets.ranked.subspan(static_cast<std::size_t>(walked), static_cast<std::size_t>(count - walked)));
      walked = count;
      for (Index t = 0; t < queries; ++t) {
        // A query that holds nothing gets y^ = 0, as in write_difference().
        const double mass = held(t, d);
        const double ratio = mass > 0 ? (head.all(t, d) - mass) / mass : 0.0;
        differences.row(static_cast<Index>(run) * queries + t).segment(i * d, d) =
            ((head.all.row(t).head(d) - held.row(t).head(d)) - ratio * held.row(t).head(d)).cast<float>();
      }
    }
  }
  if (unit == ErrorUnit::kFisher) {
    for (std::size_t run = 0; run < runs; ++run) {
      losses[run] = gradients_->head_loss(kv_head, differences.middleRows(static_cast<Index>(run) * queries, queries));
    }
    return losses;
  }
  const std::vector<double>& squares = unit == ErrorUnit::kStream ? stream_squares_ : output_squares_;
  const RowMatrix products = differences * gram;
  for (std::size_t run = 0; run < runs; ++run) {
    for (Index t = 0; t < queries; ++t) {
      const Index row = static_cast<Index>(run) * queries + t;
      const double lost = std::max(0.0, products.row(row).cast<double>().dot(differences.row(row).cast<double>()));
      const double square = unit == ErrorUnit::kSquared ? 1.0 : squares[static_cast<std::size_t>(t)];
      if (square > 0) losses[run] += lost / square;
    }
    losses[run] /= static_cast<double>(queries);
  }
  return losses;
}

Eigen::MatrixXf output_gram(const LayerShape& shape, const RowMatrix& output_weight, Index kv_head) {
  const Index rows = shape.group_size() * shape.head_dim;
  const Eigen::MatrixXd own = output_weight.middleRows(kv_head * rows, rows).cast<double>();
  return (own * own.transpose()).cast<float>();
}

// Sums over the positions that the queries of one head still find; columns of `attention` are positions from `first`
// on.
struct OutputReference::Held {
  Eigen::MatrixXd attention;     // [T padded, visible], 0 where a query no longer finds a position
  Eigen::VectorXd largest_norm;  // [T], over what is found
  double kept_prompt_mass = 0;   // of the prompt's positions, all queries
  double prompt_mass = 0;
};

OutputReference::Held OutputReference::held(const Head& head, std::span<const std::int32_t> until) const {
  const Index queries = shape_.future_length;
  const Index in_prompt = shape_.prompt_length - first_;
  Held result{head.attention.cast<double>(), Eigen::VectorXd::Zero(queries)};
  result.prompt_mass = result.attention.leftCols(in_prompt).sum();
  for (Index column = 0; column < result.attention.cols(); ++column) {
    const Index gone = std::clamp<Index>(until[static_cast<std::size_t>(first_ + column)], 0, queries);
    const Index appears = std::max<Index>(0, column - in_prompt);
    result.attention.col(column).tail(result.attention.rows() - gone).setZero();
    for (Index t = appears; t < gone; ++t) {
      result.largest_norm[t] = std::max(result.largest_norm[t], head.output_norms[column]);
    }
  }
  result.kept_prompt_mass = result.attention.leftCols(in_prompt).sum();
  return result;
}

DecodingLosses OutputReference::losses(const HoldingTimes& times) const {
  const Index queries = shape_.future_length;
  const Index d = shape_.head_dim;
  const Index positions = shape_.prompt_length + queries;
  if (static_cast<Index>(times.until.size()) != shape_.query_heads) {
    throw std::invalid_argument(
        fmt::format("{} holding times for {} query heads", times.until.size(), shape_.query_heads));
  }
  DecodingLosses losses;
  NormBounds& bounds = losses.summary.bounds.emplace();
  losses.summary.retained_mass = losses.summary.prompt_retained_mass = 1.0;
  if (queries == 0) return losses;

  const auto count = static_cast<double>(queries);
  std::vector<TiledRows> difference;
  difference.emplace_back(queries, shape_.query_heads * d);
  double value_bound = 0;
  double lost_mass = 0;     // sum over heads of mean 1 - m_h
  double largest_norm = 0;  // C
  double kept_prompt_mass = 0;
  double prompt_mass = 0;
  for (Index h = 0; h < shape_.query_heads; ++h) {
    const auto until = times.until[static_cast<std::size_t>(h)];
    if (static_cast<Index>(until.size()) != positions) {
      throw std::invalid_argument(fmt::format("holding times of {} positions for {}", until.size(), positions));
    }
    const Head& head = heads_[static_cast<std::size_t>(h)];
    const Held found = held(head, until);
    const Eigen::MatrixXd missed = head.attention.cast<double>() - found.attention;
    Eigen::MatrixXd values(missed.cols(), d + 2);
    values << values_[static_cast<std::size_t>(shape_.kv_head_of(h))].cast<double>(),
        Eigen::VectorXd::Ones(missed.cols()), head.output_norms;
    const Eigen::MatrixXd lost = missed * values;
    value_bound += write_difference(h, lost, found.attention * values, difference.front());
    double head_lost = 0;
    for (Index t = 0; t < queries; ++t) {
      const double total = head.all(t, d);
      head_lost += (total > 0 ? lost(t, d) / total : 0.0) / count;
      bounds.keptmax += lost(t, d + 1) + lost(t, d) * found.largest_norm[t];
    }
    const double head_norm = head.output_norms.maxCoeff();
    bounds.head += 2 * head_norm * head_lost;
    largest_norm = std::max(largest_norm, head_norm);
    lost_mass += head_lost;
    kept_prompt_mass += found.kept_prompt_mass;
    prompt_mass += found.prompt_mass;
  }
  losses.summary.retained_mass = 1.0 - lost_mass / static_cast<double>(shape_.query_heads);
  losses.summary.prompt_retained_mass = prompt_mass > 0 ? kept_prompt_mass / prompt_mass : 1.0;
  bounds.ada = 2 * largest_norm * lost_mass;
  bounds.keptmax /= count;
  losses.output = output_losses(value_bound, projection_.norms(difference).front(), difference.front());
  return losses;
}

}  // namespace evictlab::analysis
