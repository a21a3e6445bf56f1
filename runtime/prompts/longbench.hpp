#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace evictlab::runtime {

/// How LongBench (Bai et al. 2024, arXiv:2308.14508) asks the questions of one of its datasets.
struct LongBenchTask {
  std::string_view dataset;
  std::int64_t answer_length = 0;  // tokens a model may answer with
  std::string_view prompt;         // with {context} and, in most, {input}
};

/// Null for a dataset the benchmark does not have.
const LongBenchTask* find_longbench_task(std::string_view dataset);

/// "narrativeqa, qasper, ...": for messages.
std::string longbench_datasets();

}  // namespace evictlab::runtime
