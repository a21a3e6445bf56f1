#include "analysis/losses.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "analysis/future_attention.hpp"
#include "core/fixed_blocking.hpp"
#include "core/parallel.hpp"

namespace evictlab::analysis {
namespace {

using trace::FutureView;
using trace::Index;
using trace::LayerShape;
using trace::RowMatrix;
using trace::TensorView;
using Positions = std::span<const std::int32_t>;

void require_kept_sets(const LayerShape& shape, const KeptSets& kept) {
  if (static_cast<Index>(kept.size()) != shape.query_heads) {
    throw std::invalid_argument(fmt::format("{} kept sets for {} query heads", kept.size(), shape.query_heads));
  }
  for (const Positions positions : kept) {
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

// Calls held(j) or evicted(j) for every prompt position, in order.
template <typename Held, typename Evicted>
void partition_prompt(Positions kept, Index prompt_length, const Held& held, const Evicted& evicted) {
  Index next = 0;
  for (const std::int32_t position : kept) {
    for (; next < position; ++next) evicted(next);
    held(next++);
  }
  for (; next < prompt_length; ++next) evicted(next);
}

}  // namespace

SummaryReference::SummaryReference(const LayerShape& shape, const FutureView& future) : shape_(shape) {
  const Index n = shape.prompt_length;
  const Index positions = n + shape.future_length;
  require_shape("future mass", future.mass, shape.query_heads, 1, positions);
  const bool has_norms = !future.output_norms.empty();
  for (const TensorView& tensor : {future.mass, future.output_norms}) {
    if (tensor.element_type() != trace::ElementType::kFloat32)
      throw std::invalid_argument("masses and norms are float");
  }
  if (has_norms) require_shape("output norms", future.output_norms, shape.query_heads, 1, positions);
  heads_.resize(static_cast<std::size_t>(shape.query_heads));
  for (Index h = 0; h < shape.query_heads; ++h) {
    Head& head = heads_[static_cast<std::size_t>(h)];
    head.mass = future.mass.float_row(h, 0);
    if (has_norms) head.norms = future.output_norms.float_row(h, 0);
  }
  core::parallel_for((heads_.size() + kTogether - 1) / kTogether, [&](std::size_t group) {
    const std::span heads = std::span(heads_).subspan(group * kTogether);
    if (heads.size() >= kTogether) {
      add_up<kTogether>(heads, static_cast<std::size_t>(n));
    } else {
      for (std::size_t i = 0; i < heads.size(); ++i) add_up<1>(heads.subspan(i), static_cast<std::size_t>(n));
    }
  });
}

// The sums of `count` heads at a time, each in the order of the positions: one head's additions wait for each other,
// several heads' do not.
template <std::size_t count>
void SummaryReference::add_up(std::span<Head> heads, std::size_t prompt_length) {
  std::array<double, count> mass{};
  std::array<double, count> weighted{};
  std::array<float, count> largest{};
  for (std::size_t j = 0; j < prompt_length; ++j) {
    for (std::size_t i = 0; i < count; ++i) {
      const float norm = heads[i].norms.empty() ? 0.0F : heads[i].norms[j];
      const double own = heads[i].mass[j];
      mass[i] += own;
      weighted[i] += own * double{norm};
      largest[i] = std::max(largest[i], norm);
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    Head& head = heads[i];
    head.prompt_mass = mass[i];
    head.prompt_weighted = weighted[i];
    head.prompt_norm = largest[i];
    for (std::size_t j = prompt_length; j < head.mass.size(); ++j) {
      head.future_mass += head.mass[j];
      if (!head.norms.empty()) head.future_norm = std::max(head.future_norm, double{head.norms[j]});
    }
    head.largest_norm = std::max(head.prompt_norm, head.future_norm);
  }
}

KeptSums SummaryReference::everything(Index head) const {
  const Head& of = heads_[static_cast<std::size_t>(head)];
  return {of.prompt_mass, of.prompt_weighted, of.prompt_norm};
}

SummaryLosses SummaryReference::losses(const KeptSets& kept) const {
  require_kept_sets(shape_, kept);
  std::vector<KeptSums> sums;
  for (Index h = 0; h < shape_.query_heads; ++h) {
    const Head& head = heads_[static_cast<std::size_t>(h)];
    KeptSums own;
    // In the order of the sums over all positions, so that a whole prompt leaves exactly nothing over.
    for (const std::int32_t position : kept[static_cast<std::size_t>(h)]) {
      const auto j = static_cast<std::size_t>(position);
      const double mass = head.mass[j];
      own.mass += mass;
      if (head.norms.empty()) continue;
      own.weighted += mass * double{head.norms[j]};
      own.largest_norm = std::max(own.largest_norm, double{head.norms[j]});
    }
    sums.push_back(own);
  }
  return losses(sums);
}

SummaryLosses SummaryReference::losses(std::span<const KeptSums> kept) const {
  if (kept.size() != heads_.size()) {
    throw std::invalid_argument(fmt::format("sums of {} heads for {} query heads", kept.size(), heads_.size()));
  }
  SummaryLosses losses;
  NormBounds bounds;
  double kept_prompt_mass = 0;
  double prompt_mass = 0;
  double largest_norm = 0;  // C
  double lost_sum = 0;      // over heads of 1 - m_h
  for (std::size_t h = 0; h < heads_.size(); ++h) {
    const Head& head = heads_[h];
    const double total = head.prompt_mass + head.future_mass;
    const double lost = total > 0 ? std::max(0.0, head.prompt_mass - kept[h].mass) / total : 0.0;
    losses.retained_mass += 1.0 - lost;
    kept_prompt_mass += kept[h].mass;
    prompt_mass += head.prompt_mass;
    lost_sum += lost;
    if (total > 0) {
      bounds.keptmax += std::max(0.0, head.prompt_weighted - kept[h].weighted) / total +
                        lost * std::max(head.future_norm, kept[h].largest_norm);
    }
    bounds.head += 2 * head.largest_norm * lost;
    largest_norm = std::max(largest_norm, head.largest_norm);
  }
  losses.retained_mass /= static_cast<double>(shape_.query_heads);
  losses.prompt_retained_mass = prompt_mass > 0 ? std::min(1.0, kept_prompt_mass / prompt_mass) : 1.0;
  bounds.ada = 2 * largest_norm * lost_sum;
  if (!heads_.empty() && !heads_.front().norms.empty()) losses.bounds = bounds;
  return losses;
}

namespace {

// Sums along a list of positions. Blocks of eight, counted from the list's start, are added as trees and then to the
// running sums: eight additions in flight instead of one, and still one order for every count.
class RunningSums {
 public:
  RunningSums(std::span<const float> mass, std::span<const float> norms) : mass_(mass), norms_(norms) {}

  /// Adds the positions from where the last call ended up to `end`; the sums at that point.
  KeptSums advance(std::span<const std::int32_t> positions, std::size_t end) {
    for (; whole_ + kBlock <= end; whole_ += kBlock) add_block(positions.subspan(whole_).first<kBlock>());
    KeptSums sums = sums_;
    for (std::size_t i = whole_; i < end; ++i) add(static_cast<std::size_t>(positions[i]), sums);
    return sums;
  }

 private:
  static constexpr std::size_t kBlock = 8;

  void add(std::size_t position, KeptSums& sums) const {
    const double mass = mass_[position];
    sums.mass += mass;
    if (norms_.empty()) return;
    const double norm = norms_[position];
    sums.weighted += mass * norm;
    sums.largest_norm = std::max(sums.largest_norm, norm);
  }

  void add_block(std::span<const std::int32_t, kBlock> positions) {
    std::array<double, kBlock> mass;
    std::array<double, kBlock> weighted;
    for (std::size_t i = 0; i < kBlock; ++i) mass[i] = mass_[static_cast<std::size_t>(positions[i])];
    sums_.mass += tree(mass);
    if (norms_.empty()) return;
    float largest = 0;
    for (std::size_t i = 0; i < kBlock; ++i) {
      const float norm = norms_[static_cast<std::size_t>(positions[i])];
      weighted[i] = mass[i] * double{norm};
      largest = std::max(largest, norm);
    }
    sums_.weighted += tree(weighted);
    sums_.largest_norm = std::max(sums_.largest_norm, double{largest});
  }

  static double tree(const std::array<double, kBlock>& x) {
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
  }

  std::span<const float> mass_;
  std::span<const float> norms_;
  KeptSums sums_;
  std::size_t whole_ = 0;  // positions in the blocks added
};

}  // namespace

void SummaryReference::sums_in_order(Index head, Positions always, Positions ranked, std::span<const Index> counts,
                                     std::span<KeptSums> sums) const {
  const Head& of = heads_[static_cast<std::size_t>(head)];
  const KeptSums first = RunningSums(of.mass, of.norms).advance(always, always.size());
  RunningSums running(of.mass, of.norms);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const KeptSums own = running.advance(ranked, static_cast<std::size_t>(counts[i]));
    sums[i] = {first.mass + own.mass, first.weighted + own.weighted, std::max(first.largest_norm, own.largest_norm)};
  }
}

OutputReference::OutputReference(const LayerShape& shape, const FutureView& future, const RowMatrix& output_weight)
    : shape_(shape), output_weight_(&output_weight) {
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
  first_ = shape.first_visible();
  const Index visible = positions - first_;

  Eigen::MatrixXf y = Eigen::MatrixXf::Zero(shape.future_length, output_weight.cols());
  for (Index g = 0; g < shape.kv_heads; ++g) {
    const RowMatrix attention = future_attention(shape, future, g, first_);
    values_.push_back(future.values.row_range(first_, visible).copy_head(g));
    for (Index h = g * shape.group_size(); h < (g + 1) * shape.group_size(); ++h) {
      Head head;
      head.attention = attention.middleRows(h % shape.group_size() * shape.future_length, shape.future_length);
      const FloatRow norms(future.output_norms, h);
      head.output_norms.resize(visible);
      for (Index j = 0; j < visible; ++j) head.output_norms[j] = norms[first_ + j];
      head.output = head.attention.cast<double>() * values_.back().cast<double>();
      head.total = head.attention.cast<double>().rowwise().sum();
      head.weighted_total = head.attention.cast<double>() * head.output_norms;
      y.noalias() += head.output.cast<float>() * output_weight.middleRows(h * d, d);
      heads_.push_back(std::move(head));
    }
  }
  output_norm_ = y.cast<double>().lpNorm<1>();
}

RowMatrix OutputReference::attention(Index first, Index count) const {
  RowMatrix sum = RowMatrix::Zero(shape_.future_length, shape_.prompt_length + shape_.future_length);
  for (Index h = first; h < first + count; ++h) {
    const Eigen::MatrixXf& head = heads_[static_cast<std::size_t>(h)].attention;
    sum.rightCols(head.cols()) += head;
  }
  return sum;
}

OutputReference::Partial OutputReference::sum_over(Index h, Positions positions) const {
  constexpr Index kBlock = 256;  // positions gathered at a time: both factors stay in the L2 cache
  const Head& head = heads_[static_cast<std::size_t>(h)];
  const RowMatrix& values = values_[static_cast<std::size_t>(shape_.kv_head_of(h))];
  const Index queries = head.attention.rows();
  Partial sum{Eigen::MatrixXd::Zero(queries, shape_.head_dim), Eigen::VectorXd::Zero(queries),
              Eigen::VectorXd::Zero(queries)};
  Eigen::MatrixXd attention(queries, kBlock);
  Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> block(kBlock, shape_.head_dim);
  const Index count = static_cast<Index>(positions.size());
  for (Index begin = 0; begin < count; begin += kBlock) {
    const Index size = std::min(kBlock, count - begin);
    for (Index i = 0; i < size; ++i) {
      const Index column = positions[static_cast<std::size_t>(begin + i)] - first_;
      attention.col(i) = head.attention.col(column).cast<double>();
      block.row(i) = values.row(column).cast<double>();
      sum.mass += attention.col(i);
      sum.weighted += head.output_norms[column] * attention.col(i);
    }
    sum.output.noalias() += attention.leftCols(size) * block.topRows(size);
  }
  return sum;
}

std::pair<OutputReference::Partial, OutputReference::Partial> OutputReference::split(Index h, Positions evicted,
                                                                                     Positions held) const {
  // Below this, the held mass is summed itself: a difference would leave only rounding.
  constexpr double kSmallMass = 1e-6;
  const Head& head = heads_[static_cast<std::size_t>(h)];
  const auto rest = [&head](const Partial& sum) {
    return Partial{head.output - sum.output, head.total - sum.mass, head.weighted_total - sum.weighted};
  };
  if (evicted.size() <= held.size()) {
    Partial lost = sum_over(h, evicted);
    if ((head.total - lost.mass).minCoeff() > kSmallMass) {
      Partial left = rest(lost);
      return {std::move(lost), std::move(left)};
    }
  }
  Partial left = sum_over(h, held);
  Partial lost = rest(left);
  return {std::move(lost), std::move(left)};
}

OutputLosses OutputReference::losses(const KeptSets& kept) const {
  require_kept_sets(shape_, kept);
  const Index d = shape_.head_dim;
  const Index n = shape_.prompt_length;
  OutputLosses losses;
  if (shape_.future_length == 0) return losses;

  Eigen::MatrixXf difference = Eigen::MatrixXf::Zero(shape_.future_length, output_weight_->cols());  // y - y^
  std::vector<std::int32_t> held;
  std::vector<std::int32_t> evicted;
  for (Index h = 0; h < shape_.query_heads; ++h) {
    held.clear();
    evicted.clear();
    partition_prompt(
        kept[static_cast<std::size_t>(h)], n,
        [&](Index j) {
          if (j >= first_) held.push_back(static_cast<std::int32_t>(j));
        },
        [&](Index j) {
          if (j >= first_) evicted.push_back(static_cast<std::int32_t>(j));
        });
    if (evicted.empty()) continue;
    for (Index j = n; j < n + shape_.future_length; ++j) held.push_back(static_cast<std::int32_t>(j));

    // y - y^ = S_E - (e/m) S_K before W_O, where S_X = sum over X of A_j v_j, e and m the masses of E and K.
    const auto [lost, left] = split(h, evicted, held);
    Eigen::MatrixXd delta = lost.output;
    for (Index t = 0; t < shape_.future_length; ++t) {
      // A query that holds nothing (its own weight underflows) gets y^ = 0.
      const double ratio = left.mass[t] > 0 ? std::max(0.0, lost.mass[t]) / left.mass[t] : 0.0;
      delta.row(t) -= ratio * left.output.row(t);
      losses.value_bound += std::max(0.0, lost.weighted[t]) + ratio * left.weighted[t];
    }
    difference.noalias() += delta.cast<float>() * output_weight_->middleRows(h * d, d);
  }
  const double difference_norm = difference.cast<double>().lpNorm<1>();
  losses.value_bound /= static_cast<double>(shape_.future_length);
  losses.exact_loss = difference_norm / static_cast<double>(shape_.future_length);
  losses.relative_loss = output_norm_ > 0 ? difference_norm / output_norm_ : 0.0;
  return losses;
}

// Sums over the positions that the queries of one head still find; columns of `attention` are positions from `first`
// on.
struct OutputReference::Held {
  Eigen::MatrixXd attention;     // [T, visible], 0 where a query no longer finds a position
  Eigen::VectorXd largest_norm;  // [T], over what is found
  double kept_prompt_mass = 0;   // of the prompt's positions, all queries
  double prompt_mass = 0;
};

OutputReference::Held OutputReference::held(const Head& head, std::span<const std::int32_t> until) const {
  const Index queries = head.attention.rows();
  const Index in_prompt = shape_.prompt_length - first_;
  Held result{head.attention.cast<double>(), Eigen::VectorXd::Zero(queries)};
  result.prompt_mass = result.attention.leftCols(in_prompt).sum();
  for (Index column = 0; column < result.attention.cols(); ++column) {
    const Index gone = std::clamp<Index>(until[static_cast<std::size_t>(first_ + column)], 0, queries);
    const Index appears = std::max<Index>(0, column - in_prompt);
    result.attention.col(column).tail(queries - gone).setZero();
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
  Eigen::MatrixXf difference = Eigen::MatrixXf::Zero(queries, output_weight_->cols());  // y - y^
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
    const Eigen::MatrixXd values = values_[static_cast<std::size_t>(shape_.kv_head_of(h))].cast<double>();
    const Eigen::MatrixXd held_output = found.attention * values;
    const Eigen::VectorXd held_mass = found.attention.rowwise().sum();
    const Eigen::VectorXd held_weighted = found.attention * head.output_norms;
    const Eigen::VectorXd missed_mass = missed.rowwise().sum();
    const Eigen::VectorXd missed_weighted = missed * head.output_norms;
    Eigen::MatrixXd delta = missed * values;
    double head_lost = 0;
    for (Index t = 0; t < queries; ++t) {
      const double ratio = held_mass[t] > 0 ? missed_mass[t] / held_mass[t] : 0.0;
      const double lost = head.total[t] > 0 ? missed_mass[t] / head.total[t] : 0.0;
      delta.row(t) -= ratio * held_output.row(t);
      losses.output.value_bound += missed_weighted[t] + ratio * held_weighted[t];
      bounds.keptmax += missed_weighted[t] + missed_mass[t] * found.largest_norm[t];
      head_lost += lost / count;
    }
    difference.noalias() += delta.cast<float>() * output_weight_->middleRows(h * d, d);
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
  losses.output.value_bound /= count;
  const double difference_norm = difference.cast<double>().lpNorm<1>();
  losses.output.exact_loss = difference_norm / count;
  losses.output.relative_loss = output_norm_ > 0 ? difference_norm / output_norm_ : 0.0;
  return losses;
}

}  // namespace evictlab::analysis
