#include "analysis/eviction_slots.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace evictlab::analysis {
namespace {

using trace::Index;

constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
constexpr int kScaleBits = 60;  // a sum of losses, and a difference of two, fits into 64 bits

void require_shapes(const Eigen::Ref<const trace::RowMatrix>& attention, const EvictionSlots& slots) {
  const Index queries = attention.rows();
  if (queries < 1 || attention.cols() < queries || static_cast<Index>(slots.capacity.size()) != queries) {
    throw std::invalid_argument(
        fmt::format("attention [{}, {}] with {} slots: needs rows of T >= 1 queries over n + T positions and T slots",
                    queries, attention.cols(), slots.capacity.size()));
  }
  if (slots.sinks < 0 || slots.recent < 0) throw std::invalid_argument("sinks and recent must not be negative");
}

// Slots that take something, in order, and what each position would lose by leaving in them. Integers, so that sums are
// exact and no cycle of moves seems to gain by rounding.
class SlotLosses {
 public:
  SlotLosses(const Eigen::Ref<const trace::RowMatrix>& attention, const EvictionSlots& slots)
      : queries_(attention.rows()), prompt_(attention.cols() - queries_), slots_(slots) {
    for (Index slot = 0; slot < queries_; ++slot) {
      if (slots.capacity[static_cast<std::size_t>(slot)] != 0) used_.push_back(slot);
    }
    require_enough();
    sum(attention, scale_for(attention));
  }

  std::size_t used() const { return used_.size(); }
  std::int32_t slot(std::size_t u) const { return static_cast<std::int32_t>(used_[u]); }
  std::int32_t capacity(std::size_t u) const { return slots_.capacity[static_cast<std::size_t>(used_[u])]; }
  /// [n + T]: loss(j, slot u), of the positions that exist by then.
  const std::int64_t* of(std::size_t u) const { return losses_.data() + u * positions(); }
  /// Positions that may leave in slot u: [first, end). A later slot takes all that an earlier one does.
  Index first() const { return slots_.sinks; }
  Index end(std::size_t u) const { return std::max(first(), prompt_ + used_[u] - slots_.recent); }
  std::size_t positions() const { return static_cast<std::size_t>(prompt_ + queries_); }

  EvictionTimes never() const {
    return {std::vector<std::int32_t>(positions(), static_cast<std::int32_t>(queries_)), 0};
  }
  double retained(std::int64_t lost) const { return std::ldexp(static_cast<double>(total_ - lost), -exponent_); }

 private:
  // Enough is enough for all slots at once: what an earlier one may take, a later one may.
  void require_enough() const {
    std::int64_t leaving = 0;
    for (std::size_t u = 0; u < used(); ++u) {
      if (capacity(u) < 0) throw std::invalid_argument(fmt::format("slot {} has a negative capacity", used_[u]));
      leaving += capacity(u);
      if (leaving > end(u) - first()) {
        throw std::invalid_argument(
            fmt::format("{} positions must leave by slot {}, but only {} may", leaving, used_[u], end(u) - first()));
      }
    }
  }

  double scale_for(const Eigen::Ref<const trace::RowMatrix>& attention) {
    double mass = 0;
    for (Index t = 0; t < queries_; ++t) {
      for (Index j = 0; j <= prompt_ + t; ++j) {
        const float paid = attention(t, j);
        if (!(paid >= 0) || std::isinf(paid)) {
          throw std::invalid_argument(fmt::format("query {} pays position {} {}: must be finite, >= 0", t, j, paid));
        }
        mass += paid;
      }
    }
    int binary = 0;
    std::frexp(mass, &binary);
    exponent_ = kScaleBits - binary;
    return std::ldexp(1.0, exponent_);
  }

  void sum(const Eigen::Ref<const trace::RowMatrix>& attention, double scale) {
    losses_.resize(used() * positions());
    std::vector<std::int64_t> later(positions(), 0);  // sum over queries t.. of what they pay
    std::size_t u = used();
    for (Index t = queries_; t-- > 0;) {
      const Index visible = prompt_ + t + 1;
      for (Index j = 0; j < visible; ++j) {
        later[static_cast<std::size_t>(j)] += static_cast<std::int64_t>(static_cast<double>(attention(t, j)) * scale);
      }
      if (u == 0 || used_[u - 1] != t) continue;
      --u;
      std::copy(later.begin(), later.end(), losses_.begin() + static_cast<std::ptrdiff_t>(u * positions()));
    }
    total_ = std::accumulate(later.begin(), later.end(), std::int64_t{0});
  }

  Index queries_;
  Index prompt_;
  EvictionSlots slots_;
  std::vector<Index> used_;
  std::vector<std::int64_t> losses_;  // [used][n + T]
  std::int64_t total_ = 0;
  int exponent_ = 0;
};

// Moves the `count` members that lose least in slot u from `held`, ascending, to the result, ascending.
std::vector<Index> take_least(const SlotLosses& losses, std::size_t u, std::vector<Index>& held) {
  const std::int64_t* loss = losses.of(u);
  const auto end = std::lower_bound(held.begin(), held.end(), losses.end(u));
  std::vector<Index> order(std::lower_bound(held.begin(), end, losses.first()), end);
  const auto count = order.begin() + losses.capacity(u);
  if (count != order.end()) {
    std::nth_element(order.begin(), count, order.end(),
                     [&](Index a, Index b) { return loss[a] < loss[b] || (loss[a] == loss[b] && a > b); });
  }
  order.erase(count, order.end());
  std::sort(order.begin(), order.end());
  std::vector<Index> rest;
  rest.reserve(held.size());
  std::set_difference(held.begin(), held.end(), order.begin(), order.end(), std::back_inserter(rest));
  held.swap(rest);
  return order;
}

std::vector<Index> all_positions(const SlotLosses& losses) {
  std::vector<Index> positions(losses.positions());
  std::iota(positions.begin(), positions.end(), Index{0});
  return positions;
}

// The cheapest move of a position from one node to another.
struct Move {
  std::int64_t cost = kNone;
  Index position = -1;
};

// An assignment of positions to slots, of least loss for what the slots so far take. Nodes 0..used-1 are the slots that
// take something, the last node is what never leaves.
class Assignment {
 public:
  explicit Assignment(const SlotLosses& losses)
      : losses_(losses),
        never_(losses.used()),
        members_(losses.used() + 1),
        moves_((losses.used() + 1) * losses.used()) {
    members_[never_] = all_positions(losses);
  }

  // The first slot takes what loses least, the others one position after another.
  void fill() {
    for (std::size_t u = 0; u < losses_.used(); ++u) {
      open_ = u + 1;
      if (u == 0) members_[0] = take_least(losses_, 0, members_[never_]);
      for (std::size_t from = 0; from < u; ++from) find_move(from, u);
      find_move(never_, u);
      const std::int32_t missing = u == 0 ? 0 : losses_.capacity(u);
      for (std::int32_t i = 0; i < missing; ++i) augment(u);
    }
  }

  EvictionTimes result() const {
    EvictionTimes out = losses_.never();
    std::int64_t lost = 0;
    for (std::size_t u = 0; u < losses_.used(); ++u) {
      for (const Index position : members_[u]) {
        out.until[static_cast<std::size_t>(position)] = losses_.slot(u);
        lost += losses_.of(u)[position];
      }
    }
    out.retained = losses_.retained(lost);
    return out;
  }

 private:
  Move& move(std::size_t from, std::size_t to) { return moves_[from * losses_.used() + to]; }

  std::int64_t cost(Index position, std::size_t from, std::size_t to) const {
    return losses_.of(to)[position] - (from == never_ ? 0 : losses_.of(from)[position]);
  }

  void find_move(std::size_t from, std::size_t to) {
    Move best;
    for (const Index position : members_[from]) {
      if (position < losses_.first()) continue;
      if (position >= losses_.end(to)) break;
      const std::int64_t moved = cost(position, from, to);
      if (moved < best.cost) best = {moved, position};
    }
    move(from, to) = best;
  }

  // One more position for slot `to`: Bellman and Ford's shortest path from what never leaves. All loss sums are least
  // so far, hence no cycle is negative and the steps form a tree.
  void augment(std::size_t to) {
    std::vector<std::int64_t> distance(open_);
    std::vector<std::size_t> previous(open_, never_);
    for (std::size_t node = 0; node < open_; ++node) distance[node] = move(never_, node).cost;
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t from = 0; from < open_; ++from) {
        if (distance[from] == kNone) continue;
        for (std::size_t node = 0; node < open_; ++node) {
          const std::int64_t step = move(from, node).cost;
          if (node == from || step == kNone || distance[from] + step >= distance[node]) continue;
          distance[node] = distance[from] + step;
          previous[node] = from;
          changed = true;
        }
      }
    }
    follow(previous, to);
  }

  // Moves a position along every step of the path to `to`, and renews the moves from the nodes it touches.
  void follow(const std::vector<std::size_t>& previous, std::size_t to) {
    std::vector<std::size_t> path{to};
    while (path.back() != never_) path.push_back(previous[path.back()]);
    std::vector<Index> moved;  // [path - 1]: from path[i + 1] to path[i]
    for (std::size_t i = 0; i + 1 < path.size(); ++i) moved.push_back(move(path[i + 1], path[i]).position);
    for (std::size_t i = 0; i < moved.size(); ++i) {
      std::vector<Index>& source = members_[path[i + 1]];
      std::vector<Index>& target = members_[path[i]];
      source.erase(std::lower_bound(source.begin(), source.end(), moved[i]));
      target.insert(std::lower_bound(target.begin(), target.end(), moved[i]), moved[i]);
    }
    for (std::size_t i = 0; i < path.size(); ++i) {
      const Index gone = i > 0 ? moved[i - 1] : -1;
      const Index come = i < moved.size() ? moved[i] : -1;
      for (std::size_t node = 0; node < open_; ++node) {
        if (node != path[i]) renew_move(path[i], node, gone, come);
      }
    }
  }

  void renew_move(std::size_t from, std::size_t to, Index gone, Index come) {
    Move& known = move(from, to);
    if (known.position >= 0 && known.position == gone) {
      find_move(from, to);
    } else if (come >= 0 && come < losses_.end(to) && cost(come, from, to) < known.cost) {
      known = {cost(come, from, to), come};
    }
  }

  const SlotLosses& losses_;
  std::size_t never_;
  std::size_t open_ = 0;                     // slots filled so far, and the one being filled
  std::vector<std::vector<Index>> members_;  // [used + 1], ascending
  std::vector<Move> moves_;                  // [used + 1][used]
};

}  // namespace

EvictionTimes greedy_eviction(const Eigen::Ref<const trace::RowMatrix>& attention, const EvictionSlots& slots) {
  require_shapes(attention, slots);
  const SlotLosses losses(attention, slots);
  std::vector<Index> held = all_positions(losses);
  EvictionTimes out = losses.never();
  std::int64_t lost = 0;
  for (std::size_t u = 0; u < losses.used(); ++u) {
    for (const Index position : take_least(losses, u, held)) {
      out.until[static_cast<std::size_t>(position)] = losses.slot(u);
      lost += losses.of(u)[position];
    }
  }
  out.retained = losses.retained(lost);
  return out;
}

EvictionTimes optimal_eviction(const Eigen::Ref<const trace::RowMatrix>& attention, const EvictionSlots& slots) {
  require_shapes(attention, slots);
  const SlotLosses losses(attention, slots);
  Assignment assignment(losses);
  assignment.fill();
  return assignment.result();
}

}  // namespace evictlab::analysis
