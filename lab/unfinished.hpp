#pragma once

#include <cstddef>
#include <string>

#include "core/error.hpp"
#include "trace/io/writer.hpp"

namespace evictlab::lab {

/// An interrupted recording that left finished prompts: what() says how many, where they are, and that the same command
/// resumes.
class Unfinished : public core::Interrupted {
 public:
  explicit Unfinished(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

/// After an interrupt: throws Unfinished, or core::Interrupted where no prompt was kept. `finished` of `prompts` are
/// recorded.
[[noreturn]] void throw_unfinished(const trace::TraceWriter& writer, std::size_t finished, std::size_t prompts);

}  // namespace evictlab::lab
