#include "sim/replay/span_mass.hpp"

#include <algorithm>
#include <map>

namespace evictlab::sim {

SpanMarks::SpanMarks(std::span<const trace::Span> spans, Index prompt_length) {
  std::map<std::string, std::vector<const trace::Span*>> by_name;
  for (const trace::Span& span : spans) {
    if (span.begin < std::min(span.end, prompt_length)) by_name[span.name].push_back(&span);
  }
  names_ = by_name.size();
  if (names_ == 0) return;
  std::vector<std::vector<std::uint32_t>> marks(static_cast<std::size_t>(prompt_length));
  std::uint32_t name = 0;
  for (const auto& [text, own] : by_name) {
    for (const trace::Span* span : own) {
      for (Index j = span->begin; j < std::min(span->end, prompt_length); ++j) {
        std::vector<std::uint32_t>& at = marks[static_cast<std::size_t>(j)];
        if (at.empty() || at.back() != name) at.push_back(name);
      }
    }
    ++name;
  }
  begins_.push_back(0);
  for (const auto& at : marks) {
    marks_.insert(marks_.end(), at.begin(), at.end());
    begins_.push_back(marks_.size());
  }
}

}  // namespace evictlab::sim
