#include "analysis/summary_losses.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "analysis/loss_input.hpp"
#include "core/parallel.hpp"

namespace evictlab::analysis {

using trace::FutureView;
using trace::Index;
using trace::LayerShape;
using trace::TensorView;
using Positions = std::span<const std::int32_t>;

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

}  // namespace evictlab::analysis
