#include "runtime/repeat_pass.hpp"

#include <algorithm>

namespace evictlab::runtime {
namespace {

// Watches a chunk being read again.
class RepeatObserver final : public ForwardObserver {
 public:
  RepeatObserver(const Transformer& model, const trace::PromptInfo& prompt, std::vector<trace::Tensor>& largest)
      : group_(model.config().group_size()), prompt_(prompt), largest_(largest) {}

  void read_again(Index begin, Index count) {
    begin_ = begin;
    count_ = count;
  }

  // The query heads of a kv head come one after the other, so that its row is written by one thread at a time.
  void on_attention(Index layer, Index query_head, Index first_position, const RowMatrixView& probabilities) override {
    const auto found = std::ranges::lower_bound(prompt_.layers, layer);
    if (found == prompt_.layers.end() || *found != layer) return;
    trace::Tensor& own = largest_[static_cast<std::size_t>(found - prompt_.layers.begin())];
    const Index n = prompt_.prompt_length;
    float* most = own.floats().data() + query_head / group_ * n + begin_;
    for (Index row = 0; row < probabilities.rows(); ++row) {
      const auto paid = probabilities.row(row).segment(begin_, count_);
      const auto repeated = probabilities.row(row).segment(n, first_position + row + 1 - n);
      const double sum = paid.cast<double>().sum() + repeated.cast<double>().sum();
      if (!(sum > 0.0)) continue;  // the chunk is out of a sliding window's sight
      for (Index j = 0; j < count_; ++j) {
        most[j] = std::max(most[j], static_cast<float>(static_cast<double>(paid[j]) / sum));
      }
    }
  }

 private:
  Index group_;
  const trace::PromptInfo& prompt_;
  std::vector<trace::Tensor>& largest_;
  Index begin_ = 0;  // the chunk
  Index count_ = 0;
};

}  // namespace

std::vector<trace::Tensor> repeat_attention(const Transformer& model, const trace::PromptInfo& prompt,
                                            std::span<const std::int32_t> tokens, Index chunk, KvCache& cache,
                                            const std::function<void(double)>& progress) {
  const Index n = prompt.prompt_length;
  std::vector<trace::Tensor> largest(prompt.layers.size(),
                                     trace::Tensor(trace::ElementType::kFloat32, model.config().kv_heads, 1, n));
  RepeatObserver observer(model, prompt, largest);
  for (Index begin = 0; begin < n; begin += chunk) {
    const Index count = std::min(chunk, n - begin);
    observer.read_again(begin, count);
    model.forward(tokens.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)), cache, &observer);
    cache.truncate(n);
    if (progress) progress(static_cast<double>(begin + count) / static_cast<double>(n));
  }
  return largest;
}

}  // namespace evictlab::runtime
