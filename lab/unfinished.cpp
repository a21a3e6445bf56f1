#include "lab/unfinished.hpp"

#include <fmt/format.h>

namespace evictlab::lab {

void throw_unfinished(const trace::TraceWriter& writer, std::size_t finished, std::size_t prompts) {
  if (writer.prompts_in_parts() == 0) throw core::Interrupted();
  throw Unfinished(fmt::format("interrupted: {} of {} prompts are recorded, kept in {}; the same command resumes",
                               finished, prompts, writer.parts().string()));
}

}  // namespace evictlab::lab
