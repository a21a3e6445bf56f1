// Rules under which, once a set holds more than it may, the position of the lowest score leaves; sinks and the most
// recent positions stay. Equal scores: the higher position leaves. What is scored tells H2O, TOVA, StreamingLLM and the
// oracle apart.

#include <algorithm>

#include "sim/policy/decoding.hpp"

namespace evictlab::sim {
namespace {

enum class LowestOf { kAccumulatedMass, kLastQuery, kPosition, kFutureMass };

class EvictLowestState final : public DecodeState {
 public:
  EvictLowestState(const DecodeStart& start, LowestOf what, double recent_part)
      : what_(what),
        limit_(static_cast<std::size_t>(std::max<Index>(1, start.limit))),
        sinks_(start.protection.sinks),
        recent_(std::max(start.protection.recent, static_cast<Index>(static_cast<double>(start.limit) * recent_part))),
        scores_(start.stored.size(), 0.0) {
    if (what_ == LowestOf::kFutureMass) {
      remaining_ = start.future_attention->cast<double>();
      for (Index t = remaining_.rows() - 1; t-- > 0;) remaining_.row(t) += remaining_.row(t + 1);
    }
    if (what_ != LowestOf::kAccumulatedMass) return;
    std::vector<float> mass(static_cast<std::size_t>(start.layer.shape.prompt_length));
    for (Index head = start.first_head; head < start.first_head + start.heads; ++head) {
      start.layer.attention_mass.copy_row(head, 0, mass);
      for (std::size_t i = 0; i < scores_.size(); ++i) scores_[i] += mass[static_cast<std::size_t>(start.stored[i])];
    }
  }

  void step(const Eigen::Ref<const Eigen::MatrixXd>& attention, std::vector<std::int32_t>& stored) override {
    scores_.resize(stored.size(), 0.0);
    ++step_;
    for (std::size_t i = 0; i < stored.size(); ++i) {
      const auto column = static_cast<Index>(i);
      if (what_ == LowestOf::kAccumulatedMass) scores_[i] += attention.col(column).sum();
      if (what_ == LowestOf::kLastQuery) scores_[i] = attention.col(column).mean();
      if (what_ == LowestOf::kPosition) scores_[i] = stored[i];
      if (what_ == LowestOf::kFutureMass) scores_[i] = step_ < remaining_.rows() ? remaining_(step_, stored[i]) : 0.0;
    }
    const Index newest = *std::max_element(stored.begin(), stored.end());
    while (stored.size() > limit_) {
      const std::size_t lowest = lowest_entry(stored, newest);
      if (lowest == stored.size()) return;  // all that is left is protected
      stored.erase(stored.begin() + static_cast<std::ptrdiff_t>(lowest));
      forget(lowest);
    }
  }

  void forget(std::size_t index) override {
    if (index < scores_.size()) scores_.erase(scores_.begin() + static_cast<std::ptrdiff_t>(index));
  }

 private:
  std::size_t lowest_entry(const std::vector<std::int32_t>& stored, Index newest) const {
    std::size_t lowest = stored.size();
    for (std::size_t i = 0; i < stored.size(); ++i) {
      if (stored[i] < sinks_ || stored[i] > newest - recent_) continue;
      const bool lower = lowest == stored.size() || scores_[i] < scores_[lowest] ||
                         (scores_[i] == scores_[lowest] && stored[i] > stored[lowest]);
      if (lower) lowest = i;
    }
    return lowest;
  }

  LowestOf what_;
  std::size_t limit_;
  Index sinks_;
  Index recent_;
  std::vector<double> scores_;  // of what is stored, in its order
  // [T, n + T]: what the queries from t on pay a position.
  Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> remaining_;
  Index step_ = 0;  // queries asked
};

class EvictLowestRule final : public DecodeRule {
 public:
  explicit EvictLowestRule(LowestOf what, double recent_part = 0.0) : what_(what), recent_part_(recent_part) {}
  trace::Fields fields() const override {
    return what_ == LowestOf::kAccumulatedMass ? trace::Fields(trace::Field::kAttentionMass) : trace::Fields();
  }
  bool needs_future() const override { return what_ == LowestOf::kFutureMass; }
  std::unique_ptr<DecodeState> begin(const DecodeStart& start) const override {
    return std::make_unique<EvictLowestState>(start, what_, recent_part_);
  }

 private:
  LowestOf what_;
  double recent_part_;
};

}  // namespace

// The original H2O (arXiv:2306.14048, algorithm 1): the attention each position has been paid so far, by prompt and
// future queries, summed over the set's heads.
DecoderDefinition h2o_decoder() {
  ParameterList parameters;
  parameters.number("recent_part", 0.0, {0.0, 1.0}, "of the budget that the most recent positions have in any case");
  return {.description = "the position of least accumulated attention leaves (H2O)",
          .parameters = parameters,
          .make = [](const Parameters& given) {
            return std::make_unique<EvictLowestRule>(LowestOf::kAccumulatedMass, given.number("recent_part"));
          }};
}

// TOVA (arXiv:2401.06104): the mean over the set's heads.
DecoderDefinition tova_decoder() {
  return {.description = "what the new query pays least leaves (TOVA)",
          .make = [](const Parameters&) { return std::make_unique<EvictLowestRule>(LowestOf::kLastQuery); }};
}

// StreamingLLM (arXiv:2309.17453).
DecoderDefinition streaming_decoder() {
  return {.description = "the oldest position behind the sinks leaves (StreamingLLM)",
          .make = [](const Parameters&) { return std::make_unique<EvictLowestRule>(LowestOf::kPosition); }};
}

// The oracle, greedily. Not quite the best there is (analysis/eviction_slots.hpp), against which regret is measured.
DecoderDefinition hindsight_decoder() {
  return {.description = "what the queries still to come pay least leaves",
          .make = [](const Parameters&) { return std::make_unique<EvictLowestRule>(LowestOf::kFutureMass); }};
}

}  // namespace evictlab::sim
