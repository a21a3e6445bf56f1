// CAKE's eviction while decoding (antgroup/cakekv@c4675ce, CakeDecodingKVCache_LayerWise): the prefill's indicator is
// not used any more. With hh = the recorded budget less the window w, once more than hh + w positions are stored:
//
//   a = mean over the set's heads of pool_5( the new query's attention without the last w stored entries )
//
// pooled in the order of storage, and kept are the hh entries of largest a, in falling order, then the last w stored.

#include <algorithm>
#include <numeric>

#include "sim/policy/decoding.hpp"
#include "sim/policy/pooling.hpp"

namespace evictlab::sim {
namespace {

class CakeDecodeState final : public DecodeState {
 public:
  CakeDecodeState(const DecodeStart& start, Index kernel)
      : kernel_(kernel),
        recent_(start.ranges.prompt_length - start.ranges.candidates_end),
        chosen_(std::max<Index>(0, start.limit - recent_)) {}

  void step(const Eigen::Ref<const Eigen::MatrixXd>& attention, std::vector<std::int32_t>& stored) override {
    const auto count = static_cast<Index>(stored.size());
    if (count <= chosen_ + recent_) return;
    const Index scored = count - recent_;
    Eigen::RowVectorXd worth = Eigen::RowVectorXd::Zero(scored);
    for (Index head = 0; head < attention.rows(); ++head) {
      worth += pooled(attention.row(head).head(scored), kernel_, Pooling::kAverage);
    }
    worth /= static_cast<double>(attention.rows());
    order_.resize(static_cast<std::size_t>(scored));
    std::iota(order_.begin(), order_.end(), Index{0});
    std::stable_sort(order_.begin(), order_.end(), [&](Index a, Index b) { return worth[a] > worth[b]; });
    next_.clear();
    for (Index i = 0; i < chosen_; ++i)
      next_.push_back(stored[static_cast<std::size_t>(order_[static_cast<std::size_t>(i)])]);
    next_.insert(next_.end(), stored.end() - recent_, stored.end());
    stored = next_;
  }

  void forget(std::size_t /*index*/) override {}

 private:
  Index kernel_;
  Index recent_;
  Index chosen_;
  std::vector<Index> order_;
  std::vector<std::int32_t> next_;
};

class CakeDecodeRule final : public DecodeRule {
 public:
  explicit CakeDecodeRule(Index kernel) : kernel_(kernel) {}
  std::unique_ptr<DecodeState> begin(const DecodeStart& start) const override {
    return std::make_unique<CakeDecodeState>(start, kernel_);
  }

 private:
  Index kernel_;
};

}  // namespace

DecoderDefinition cake_decoder() {
  ParameterList parameters;
  parameters.integer("kernel", 5, {1, 255, true}, "positions averaged over");
  return {.description = "the new query's attention, averaged over neighbours in storage order (CAKE)",
          .parameters = parameters,
          .make = [](const Parameters& given) { return std::make_unique<CakeDecodeRule>(given.integer("kernel")); }};
}

}  // namespace evictlab::sim
