#include "runtime/prompts/benchmark_line.hpp"

#include <fmt/ranges.h>

#include "runtime/prompts/longbench.hpp"

namespace evictlab::runtime {
namespace {

std::string id_of(const PromptLine& line, const char* key, const Prompt& prompt) {
  return line.has("id") || !line.has(key) ? prompt.id : line.text(key);
}

void read_longbench(const PromptLine& line, const PromptTemplate* form, Prompt& prompt) {
  if (!line.has("context")) line.fail("a LongBench line needs \"context\" (text)");
  const std::string context = line.text("context");
  if (context.empty()) line.fail("\"context\" is empty");
  const std::string question = line.text(line.has("question") ? "question" : "input");
  const std::string dataset = line.text("dataset");
  const LongBenchTask* const task = find_longbench_task(dataset);
  if (form != nullptr) {
    form->fill(context, question, prompt);
    prompt.from_template = true;
  } else if (task != nullptr) {
    PromptTemplate(std::string(task->prompt), dataset).fill(context, question, prompt);
  } else if (dataset.empty()) {
    line.fail("has a context, but no \"dataset\" of LongBench whose prompt it would get; give --template FILE");
  } else {
    line.fail("dataset '{}' has no prompt of its own, give --template FILE; known: {}", dataset, longbench_datasets());
  }
  prompt.id = id_of(line, "_id", prompt);
  if (!dataset.empty()) prompt.task = dataset;
  const std::vector<std::string> answers = line.texts("answers");
  prompt.answer = answers.empty() ? line.text("answer") : answers.front();
  if (task != nullptr) prompt.answer_length = task->answer_length;
  prompt.cut_to_fit = true;
}

void mark_needles(const std::vector<std::string>& outputs, Prompt& prompt) {
  for (const std::string& output : outputs) {
    const auto at = prompt.text.find(output);
    if (output.empty() || at == std::string::npos) continue;
    const std::int64_t start = code_points(std::string_view(prompt.text).substr(0, at));
    prompt.spans.push_back({"needle", start, start + code_points(output)});
  }
}

void read_ruler(const PromptLine& line, Prompt& prompt) {
  const std::string input = line.text("input");
  prompt.text = input;
  prompt.answer_start = {line.text("answer_prefix"), line.text("answer_prefix")};
  const std::vector<std::string> outputs = line.texts("outputs");
  prompt.id = line.has("id") || !line.has("index") ? prompt.id : fmt::format("{}-{}", prompt.task, line.text("index"));
  prompt.answer = fmt::format("{}", fmt::join(outputs, ", "));
  // An input may end in a line break of its own.
  const auto last_line = input.find_last_not_of("\n ");
  const auto question = last_line == std::string::npos ? last_line : input.rfind('\n', last_line);
  if (question != std::string::npos) {
    const std::int64_t start = code_points(std::string_view(input).substr(0, question + 1));
    prompt.spans.push_back({"context", 0, start});
    prompt.spans.push_back({"question", start, code_points(prompt.text)});
  }
  mark_needles(outputs, prompt);
}

/// "A. one", "B. two", ..., a line each, after a question.
std::string lettered(const std::vector<std::string>& options) {
  std::string lines;
  for (std::size_t i = 0; i < options.size(); ++i)
    lines += fmt::format("\n{}. {}", static_cast<char>('A' + i), options[i]);
  return lines;
}

/// RULER as kvpress distributes it, where context and question are read without a break and the answer is all of a
/// list, and InfiniteBench, where a list has the answers that count.
void read_context_and_question(const PromptLine& line, const PromptTemplate* form, Prompt& prompt) {
  const std::string context = line.text("context");
  const bool is_kvpress = line.has("answer_prefix");
  const std::vector<std::string> options = line.texts("options");
  if (options.size() > 26) line.fail("\"options\" has {} entries, more than letters", options.size());
  const std::string question = line.text(line.has("question") ? "question" : "input") + lettered(options);
  static const PromptTemplate joined("{context}{question}", "kvpress");
  static const PromptTemplate apart("{context}\n\n{question}\n", "InfiniteBench");
  prompt.from_template = form != nullptr;
  (form != nullptr ? *form : is_kvpress ? joined : apart).fill(context, question, prompt);
  const std::string start = line.text("answer_prefix");
  if (is_kvpress) prompt.answer_start = {"\n" + start, start};
  const std::vector<std::string> answers = line.texts("answer");
  const bool all_asked = is_kvpress && !prompt.task.starts_with("qa");
  prompt.answer = all_asked ? fmt::format("{}", fmt::join(answers, ", ")) : answers.empty() ? "" : answers.front();
  if (all_asked) mark_needles(answers, prompt);
  prompt.answer_length = line.integer("max_new_tokens", 1, 1'000'000).value_or(0);
  prompt.cut_to_fit = true;
}

}  // namespace

bool read_benchmark_line(const PromptLine& line, const PromptTemplate* form, Prompt& prompt) {
  if (line.has("prompt") || line.has("tokens")) return false;
  if (line.has("input") && line.has("outputs")) {
    read_ruler(line, prompt);
    return true;
  }
  if (line.has("context") && line.has_list("answer")) {
    read_context_and_question(line, form, prompt);
    return true;
  }
  if (line.has("context") || line.has("dataset") || line.has("answers")) {
    read_longbench(line, form, prompt);
    return true;
  }
  return false;
}

}  // namespace evictlab::runtime
