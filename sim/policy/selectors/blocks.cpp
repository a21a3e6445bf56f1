// Whole blocks of positions: ChunkKV's chunks, WindowKV's windows, the pages of an engine. A block is worth the mean or
// the best of its candidates' scores; equal blocks: the earlier first. Within a block positions stay in the order of
// time. Blocks are counted from position 0; the first and the last of a set's candidates may be parts of one.

#include <algorithm>

#include "core/select.hpp"
#include "sim/policy/allocators/layer_share.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/selector.hpp"

namespace evictlab::sim {
namespace {

// How many blocks a budget keeps.
enum class BlockCount {
  kFitting,       // as many whole ones as fit
  kShareOfAll,    // the budget's share of all blocks, rounded down, at least one (ChunkKV)
  kAllButDropped  // all but ceil(excess / size), which can overshoot; none when that drops all (WindowKV)
};
BlockCount block_count_from(const Parameters& given) {
  const std::string& count = given.choice("count");
  return count == "share"             ? BlockCount::kShareOfAll
         : count == "all-but-dropped" ? BlockCount::kAllButDropped
                                      : BlockCount::kFitting;
}

struct BlockRule {
  Index size = 16;
  bool by_mean = false;  // worth of a block: the mean of its scores, or the best
  BlockCount count = BlockCount::kFitting;
  Index shared_layers = 1;  // layers of a group that share what is selected
};

class BlockSelector final : public Selector {
 public:
  explicit BlockSelector(const BlockRule& rule) : rule_(rule) {}

  Index block() const override { return rule_.size; }
  LayerSharing sharing(Index layers) const override {
    return {.layers = rule_.shared_layers > 1 ? layers_in_group(layers, rule_.shared_layers) : 1,
            .keeps_older = rule_.count == BlockCount::kAllButDropped};
  }

  std::vector<std::int32_t> rank(const RankRequest& request) const override {
    const PositionRanges& ranges = request.ranges;
    std::vector<float> worth;
    for (Index begin = ranges.candidates_begin; begin < ranges.candidates_end; begin = end_of(begin, ranges)) {
      worth.push_back(worth_of(request, begin, end_of(begin, ranges)));
    }
    const Index first_block = ranges.candidates_begin / rule_.size;
    std::vector<std::int32_t> ranked;
    ranked.reserve(static_cast<std::size_t>(ranges.candidates()));
    for (const std::uint32_t block : core::argsort_descending(worth)) {
      const Index begin = std::max(ranges.candidates_begin, (first_block + block) * rule_.size);
      for (Index j = begin; j < end_of(begin, ranges); ++j) ranked.push_back(static_cast<std::int32_t>(j));
    }
    return ranked;
  }

  Index prefix(std::span<const std::int32_t> ranked, const PositionRanges& ranges, Index slots) const override {
    const auto held = static_cast<Index>(ranked.size());
    if (slots >= held) return held;
    switch (rule_.count) {
      case BlockCount::kFitting:
        return fitting(ranked, slots);
      case BlockCount::kShareOfAll:
        return positions_of(ranked, std::max<Index>(1, share_of_blocks(ranges, slots)));
      case BlockCount::kAllButDropped: {
        const Index blocks = (ranges.candidates() + rule_.size - 1) / rule_.size;
        const Index dropped = (ranges.candidates() - slots + rule_.size - 1) / rule_.size;
        return dropped * rule_.size >= ranges.candidates() ? 0 : positions_of(ranked, blocks - dropped);
      }
    }
    return 0;
  }

 private:
  Index end_of(Index begin, const PositionRanges& ranges) const {
    return std::min(ranges.candidates_end, (begin / rule_.size + 1) * rule_.size);
  }

  float worth_of(const RankRequest& request, Index begin, Index end) const {
    if (!request.importance.scores) return 0.0F;
    const auto scores = request.importance.scores->row(request.set).segment(begin, end - begin);
    if (!rule_.by_mean) return scores.maxCoeff();
    double sum = 0.0;
    for (const float score : scores) sum += score;
    return static_cast<float>(sum / static_cast<double>(end - begin));
  }

  // int(blocks * share), share = slots / n: as a compression ratio counts blocks.
  Index share_of_blocks(const PositionRanges& ranges, Index slots) const {
    const Index blocks = (ranges.candidates() + rule_.size - 1) / rule_.size;
    return blocks * slots / ranges.candidates();
  }

  // Positions in the first `blocks` blocks of the ranking.
  Index positions_of(std::span<const std::int32_t> ranked, Index blocks) const {
    Index count = 0;
    while (count < static_cast<Index>(ranked.size())) {
      if (starts_block(ranked, count) && --blocks < 0) break;
      ++count;
    }
    return count;
  }

  // Positions in as many whole blocks of the ranking as `slots` hold.
  Index fitting(std::span<const std::int32_t> ranked, Index slots) const {
    Index count = slots;
    while (count > 0 && !starts_block(ranked, count)) --count;
    return count;
  }

  bool starts_block(std::span<const std::int32_t> ranked, Index i) const {
    const auto index = static_cast<std::size_t>(i);
    return i == 0 || ranked[index] / rule_.size != ranked[index - 1] / rule_.size;
  }

  BlockRule rule_;
};

}  // namespace

SelectorDefinition blocks_selector() {
  ParameterList parameters;
  parameters.integer("block", 16, {1, kMaxPositions}, "positions of a block")
      .choice("worth", {"best", "mean"}, "what a block is worth: its best score or their mean")
      .add(shared_layers_parameter(1));
  ParameterList settings;
  settings.choice("count", {"fitting", "share", "all-but-dropped"}, "how many blocks a budget keeps");
  return {.description = "the best blocks of successive positions",
          .parameters = parameters,
          .settings = settings,
          .make = [](const Parameters& given) {
            return std::make_unique<BlockSelector>(BlockRule{.size = given.integer("block"),
                                                             .by_mean = given.choice("worth") == "mean",
                                                             .count = block_count_from(given),
                                                             .shared_layers = given.integer("shared_layers")});
          }};
}

}  // namespace evictlab::sim
