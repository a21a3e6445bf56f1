#pragma once

#include "runtime/prompts/prompt_line.hpp"
#include "runtime/prompts/prompt_template.hpp"

namespace evictlab::runtime {

/// Fills `prompt` from a line as a benchmark publishes it; false when it is none.
///
/// LongBench: {"input", "context", "answers", "dataset", "_id", ...}. The prompt is the benchmark's own for its dataset
/// (or `form`), spans mark context and question, the answer is the first of several, cut to the length the benchmark
/// allows, and the middle of a prompt too long for the model is cut.
/// RULER: {"input", "outputs", "index", "answer_prefix"}. The prompt is input and answer_prefix, the answer all
/// outputs. What precedes the last line is the context and the last line the question; each output's first occurrence
/// is a span "needle".
///
/// RULER as kvpress distributes it: {"context", "question", "answer_prefix", "answer": [...], "max_new_tokens",
/// "task"}, and InfiniteBench: {"context", "input", "answer": [...], "options": [...]}. The prompt is context and
/// question, options lettered A, B, ... below it; the answer all of the list, or the first where any counts
/// (InfiniteBench, RULER's qa).
///
/// Throws PromptError for one that lacks something, and for a dataset without a prompt.
bool read_benchmark_line(const PromptLine& line, const PromptTemplate* form, Prompt& prompt);

}  // namespace evictlab::runtime
