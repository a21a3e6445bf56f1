#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sim/policy/types.hpp"
#include "trace/model.hpp"

namespace evictlab::sim {

/// The names of a prompt's spans, by position: which of them a position belongs to. Spans of one name count as one, and
/// spans may overlap.
class SpanMarks {
 public:
  SpanMarks() = default;
  /// What lies behind the prompt is left out, and so is a name with no position in it.
  SpanMarks(std::span<const trace::Span> spans, Index prompt_length);

  std::size_t names() const { return names_; }
  /// Names of one position, by index; each once.
  std::span<const std::uint32_t> at(Index position) const {
    const auto j = static_cast<std::size_t>(position);
    return std::span(marks_).subspan(begins_[j], begins_[j + 1] - begins_[j]);
  }
  /// Adds what a position has to each of its names.
  void add(Index position, double value, std::vector<double>& by_name) const {
    if (names_ == 0) return;
    for (const std::uint32_t name : at(position)) by_name[name] += value;
  }

 private:
  std::size_t names_ = 0;
  std::vector<std::size_t> begins_ = {};  // [n + 1]
  std::vector<std::uint32_t> marks_ = {};
};

}  // namespace evictlab::sim
