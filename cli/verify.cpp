#include <fmt/format.h>

#include <iostream>

#include "cli/options.hpp"
#include "trace/io/reader.hpp"
#include "trace/io/verify.hpp"

namespace evictlab::cli {

int run_verify(const Arguments& arguments) {
  Options options(
      "verify", "TRACE",
      "Checks a trace: the hash of every dataset, shapes, finite values, attention rows that are causal and "
      "sum to one, masses that add up. Prints one line per problem and exits with 2 if there is any.");
  options.positional("trace", "the trace: a file or a directory of parts", Options::Count::kOne);
  if (!options.parse(arguments)) return 0;

  const std::filesystem::path path = options.path("trace");
  const std::vector<std::string> problems = trace::verify_trace(path);
  for (const std::string& problem : problems) std::cerr << fmt::format("evictlab: {}\n", problem);
  if (!problems.empty()) return 2;

  const trace::TraceReader trace(path);
  const std::size_t prompts = trace.prompts().size();
  std::cout << fmt::format("{}: sound: {} prompt{}, {} datasets\n", path.string(), prompts, prompts == 1 ? "" : "s",
                           trace.datasets().size());
  return 0;
}

}  // namespace evictlab::cli
