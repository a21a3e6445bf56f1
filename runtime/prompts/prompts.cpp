#include "runtime/prompts/prompts.hpp"

#include <algorithm>
#include <set>

#include "core/file.hpp"
#include "core/interrupt.hpp"
#include "core/json.hpp"
#include "core/message.hpp"
#include "core/text.hpp"
#include "runtime/prompts/benchmark_line.hpp"
#include "runtime/prompts/prompt_line.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

core::JsonDocument parse_object(std::string_view text, const std::string& where) {
  try {
    auto document = core::JsonDocument::parse<PromptError>(text, where);
    document.root().members();
    return document;
  } catch (const PromptError& error) {
    throw PromptError("{}; each line must be one JSON object", error.what());
  }
}

/// A trace stores names as texts that end with a NUL.
void check_names(const Prompt& prompt, const PromptLine& line) {
  const auto check = [&](std::string_view what, std::string_view name) {
    if (name.find('\0') != std::string_view::npos) line.fail("{} {} has a NUL", what, core::quote(name));
  };
  check("the id", prompt.id);
  check("the task", prompt.task);
  check("the document", prompt.document);
  for (const Prompt::Span& span : prompt.spans) check("the span", span.name);
}

Prompt parse_line(std::string_view text, const std::filesystem::path& path, std::size_t number,
                  const PromptTemplate* form) {
  const auto line = parse_object(text, fmt::format("{}:{}", path.string(), number));
  const PromptLine reader(line.root());
  Prompt prompt;
  prompt.id = reader.has("id") ? reader.text("id") : fmt::format("{}-{}", path.stem().string(), number);
  prompt.task = reader.has("task") ? reader.text("task") : path.stem().string();
  prompt.source = fmt::format("{}:{}", path.filename().string(), number);
  if (prompt.id.empty()) reader.fail("\"id\" is empty");
  if (read_benchmark_line(reader, form, prompt)) {
    check_names(prompt, reader);
    return prompt;
  }
  prompt.text = reader.text("prompt");
  prompt.answer = reader.text("answer");
  prompt.tokens = reader.token_ids("tokens");
  prompt.answer_tokens = reader.token_ids("answer_tokens");
  prompt.spans = reader.spans();
  prompt.stop = reader.text("stop");
  prompt.metric = reader.metric();
  prompt.depth = reader.number("depth");
  prompt.document = reader.text("document");
  prompt.followups = reader.followups();
  prompt.messages = reader.messages();
  prompt.has_special_tokens = !reader.flag("add_special_tokens", true);
  if (reader.has("prompt") + reader.has("tokens") + reader.has("messages") != 1) {
    reader.fail(
        "must have one of \"prompt\" (text), \"tokens\" (token ids) and \"messages\" (a conversation), and only one, "
        "or be a "
        "line of LongBench, RULER or InfiniteBench");
  }
  check_names(prompt, reader);
  return prompt;
}

void check_span(const Prompt::Span& span, std::int64_t length, const std::string& id, const char* unit) {
  if (span.start < 0 || span.end < span.start || span.end > length) {
    throw PromptError("prompt '{}': span '{}' is {}..{}, outside the prompt's {} {}", id, span.name, span.start,
                      span.end, length, unit);
  }
}

const TextTokenizer& require(const TextTokenizer* tokenizer, const Prompt& prompt) {
  if (tokenizer == nullptr) throw PromptError("prompt '{}' ({}): text needs a tokenizer", prompt.id, prompt.source);
  return *tokenizer;
}

std::optional<std::int32_t> first_token(const std::string& text, const TextTokenizer* tokenizer) {
  if (text.empty() || tokenizer == nullptr) return std::nullopt;
  const std::vector<std::int32_t> ids = tokenizer->encode(text, false).ids;
  return ids.empty() ? std::nullopt : std::optional(ids.front());
}

/// What remains when the middle is cut out of `length` positions: the first limit/2 and the last ones.
struct MiddleCut {
  std::int64_t length;
  std::int64_t limit;

  std::int64_t head() const { return limit / 2; }
  std::int64_t removed() const { return length - limit; }
  trace::Span of(const trace::Span& span) const { return {span.name, moved(span.begin), moved(span.end)}; }

 private:
  trace::Index moved(trace::Index position) const {
    if (position <= head()) return position;
    return position < head() + removed() ? head() : position - removed();
  }
};

/// Any span but the context has to keep all its positions, or with `parts_alone` one of them; the context one.
const trace::Span* span_lost(const std::vector<trace::Span>& spans, const MiddleCut& cut, bool parts_alone) {
  for (const trace::Span& span : spans) {
    const trace::Span kept = cut.of(span);
    const trace::Index needed = parts_alone || span.name == "context" ? 1 : span.end - span.begin;
    if (span.begin < span.end && kept.end - kept.begin < needed) return &span;
  }
  return nullptr;
}

void cut_middle(TokenizedPrompt& prompt, std::int64_t limit, bool parts_alone) {
  const auto length = static_cast<std::int64_t>(prompt.tokens.size());
  if (limit <= 0 || length <= limit) return;
  const MiddleCut cut{length, limit};
  if (const trace::Span* lost = span_lost(prompt.spans, cut, parts_alone)) {
    throw PromptError(
        "prompt '{}' ({}): cutting the middle out of its {} positions to leave {} cuts its span '{}' ({}..{}); give a "
        "shorter prompt, or leave more positions",
        prompt.id, prompt.source, length, limit, lost->name, lost->begin, lost->end);
  }
  const auto middle = prompt.tokens.begin() + cut.head();
  prompt.tokens.erase(middle, middle + cut.removed());
  for (trace::Span& span : prompt.spans) span = cut.of(span);
}

/// What follows a prompt: its answer in tokens, or how many to generate.
struct Future {
  std::vector<std::int32_t> answer;
  std::int64_t generate = 0;
};

Future future_of(const Prompt& prompt, const TextTokenizer* tokenizer, const FutureRule& rule) {
  using Kind = FutureRule::Kind;
  const bool has_answer = prompt.answer_tokens ? !prompt.answer_tokens->empty() : !prompt.answer.empty();
  const bool answered = rule.kind == Kind::kAnswer || (rule.kind == Kind::kAuto && has_answer);
  if (!answered) {
    const bool as_long_as_allowed = rule.kind != Kind::kGenerate && prompt.answer_length > 0;
    return {{}, as_long_as_allowed ? prompt.answer_length : rule.count};
  }
  if (!has_answer) {
    throw PromptError("prompt '{}' ({}): has no \"answer\" for --future answer", prompt.id, prompt.source);
  }
  Future future;
  future.answer =
      prompt.answer_tokens ? *prompt.answer_tokens : require(tokenizer, prompt).encode(prompt.answer, false).ids;
  if (prompt.answer_length > 0 && static_cast<std::int64_t>(future.answer.size()) > prompt.answer_length) {
    future.answer.resize(static_cast<std::size_t>(prompt.answer_length));
  }
  return future;
}

/// How many positions the prompt and what is asked after it may have; 0 = any number.
std::int64_t longest_prompt(const Prompt& prompt, const TokenizeOptions& options, std::int64_t future_length) {
  if (options.max_positions > 0 || !prompt.cut_to_fit || options.model_positions == 0) return options.max_positions;
  return std::max<std::int64_t>(1, options.model_positions - future_length);
}

/// Ends the prompt with its context; the rest becomes future.
void split_after_context(TokenizedPrompt& prompt) {
  const auto context = std::find_if(prompt.spans.begin(), prompt.spans.end(),
                                    [](const trace::Span& span) { return span.name == "context"; });
  if (context == prompt.spans.end() || context->end == 0) {
    throw PromptError("prompt '{}': has no span named \"context\", which --evict-at context needs", prompt.id);
  }
  if (context->end == static_cast<trace::Index>(prompt.tokens.size())) {
    throw PromptError("prompt '{}': its context reaches the end, so --evict-at context has no question to ask",
                      prompt.id);
  }
  prompt.future.assign(prompt.tokens.begin() + context->end, prompt.tokens.end());
  prompt.asked = static_cast<trace::Index>(prompt.future.size());
  prompt.tokens.resize(static_cast<std::size_t>(context->end));
}

}  // namespace

std::vector<Prompt> read_prompts(const std::filesystem::path& path, const PromptTemplate* form) {
  const std::string content = core::read_text(path);
  std::vector<Prompt> prompts;
  std::set<std::string> ids;
  std::size_t number = 0;
  for (std::string_view rest = content; !rest.empty();) {
    core::throw_if_interrupted();
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    ++number;
    if (core::trim(line).empty()) continue;
    prompts.push_back(parse_line(line, path, number, form));
    if (!ids.insert(prompts.back().id).second) {
      throw PromptError("{}:{}: the id '{}' was used before; ids must differ", path.string(), number,
                        prompts.back().id);
    }
  }
  if (prompts.empty()) throw PromptError("{}: holds no prompts; each line must be one JSON object", path.string());
  return prompts;
}

Prompt read_text_prompt(const std::filesystem::path& path) {
  Prompt prompt;
  prompt.text = core::read_text(path);
  prompt.id = path.stem().string();
  prompt.task = "text";
  prompt.source = path.filename().string();
  return prompt;
}

const trace::Span* span_lost_by_cutting(const std::vector<trace::Span>& spans, std::int64_t positions,
                                        std::int64_t limit) {
  return positions > limit ? span_lost(spans, {positions, limit}, false) : nullptr;
}

TokenizedPrompt tokenize(const Prompt& prompt, const TextTokenizer* tokenizer, const TokenizeOptions& options) {
  TokenizedPrompt result{prompt.id, prompt.task, prompt.source, {}, {}, 0, {}};
  result.answer = prompt.answer;
  result.stop = prompt.stop;
  result.metric = prompt.metric;
  result.depth = prompt.depth;
  result.document = prompt.document;
  result.stop_token = first_token(prompt.stop, tokenizer);
  for (const Prompt::Followup& followup : prompt.followups) {
    const TextTokenizer& encoder = require(tokenizer, prompt);
    result.followups.push_back({encoder.encode(followup.text, false).ids, encoder.encode(followup.answer, false).ids,
                                followup.answer, followup.stop, first_token(followup.stop, tokenizer)});
  }
  if (prompt.tokens) {
    result.tokens = *prompt.tokens;
    const auto length = static_cast<std::int64_t>(result.tokens.size());
    for (const Prompt::Span& span : prompt.spans) {
      check_span(span, length, prompt.id, "positions");
      result.spans.push_back({span.name, span.start, span.end});
    }
  } else if (!prompt.text.empty()) {
    const std::string text = prompt.text + prompt.answer_start.plain;
    Encoding encoding =
        require(tokenizer, prompt).encode(text, options.add_special_tokens && !prompt.has_special_tokens);
    const std::vector<std::size_t> bytes = code_point_offsets(text);
    const auto length = static_cast<std::int64_t>(bytes.size()) - 1;
    for (const Prompt::Span& span : prompt.spans) {
      check_span(span, length, prompt.id, "characters");
      const TokenRange range =
          tokens_of(encoding, {bytes[static_cast<std::size_t>(span.start)], bytes[static_cast<std::size_t>(span.end)]});
      result.spans.push_back({span.name, static_cast<trace::Index>(range.begin), static_cast<trace::Index>(range.end)});
    }
    result.tokens = std::move(encoding.ids);
  }
  if (result.tokens.empty()) throw PromptError("prompt '{}' ({}): is empty", prompt.id, prompt.source);

  const Future future = future_of(prompt, tokenizer, options.future);
  result.generate = future.generate;
  const auto future_length = static_cast<std::int64_t>(future.answer.size()) + future.generate;
  cut_middle(result, longest_prompt(prompt, options, future_length), prompt.cut_to_fit);
  if (options.evict_at == EvictAt::kContext) split_after_context(result);
  result.future.insert(result.future.end(), future.answer.begin(), future.answer.end());
  return result;
}

}  // namespace evictlab::runtime
