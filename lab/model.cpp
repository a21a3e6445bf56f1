#include "lab/model.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>

namespace evictlab::lab {

const runtime::TextTokenizer& ModelTokenizer::get() const {
  if (!tokenizer_) tokenizer_ = runtime::load_tokenizer(model_);
  return *tokenizer_;
}

runtime::Transformer open_model(const std::filesystem::path& model, Observer& observer) {
  runtime::Transformer opened(model);
  const std::span<const std::string> unused = opened.unused_tensors();
  if (unused.empty()) return opened;
  constexpr std::size_t kNamed = 3;
  observer.message(Topic::kNote, fmt::format("{}: {} tensor{} not part of the model and ignored: {}{}", model.string(),
                                             unused.size(), unused.size() == 1 ? " is" : "s are",
                                             fmt::join(unused.first(std::min(kNamed, unused.size())), ", "),
                                             unused.size() > kNamed ? ", ..." : ""));
  return opened;
}

}  // namespace evictlab::lab
