#include "runtime/prompts.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <set>

#include "core/file.hpp"
#include "core/text.hpp"
#include "runtime/json.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {
namespace {

using nlohmann::json;

/// Names file and line in every message about one line of a prompts file.
class LineReader {
 public:
  LineReader(const json& line, std::string where) : line_(line), where_(std::move(where)) {}

  bool has(const char* key) const { return line_.contains(key) && !line_.at(key).is_null(); }

  std::string text(const char* key) const {
    if (!has(key)) return {};
    const json& value = line_.at(key);
    if (value.is_number_integer() && std::string_view(key) == "id") return value.dump();
    if (!value.is_string()) throw PromptError("{}: \"{}\" must be text, got {}", where_, key, value.type_name());
    return value.get<std::string>();
  }

  std::optional<std::vector<std::int32_t>> token_ids(const char* key) const {
    if (!has(key)) return std::nullopt;
    const json& value = line_.at(key);
    if (!value.is_array()) {
      throw PromptError("{}: \"{}\" must be a list of token ids, got {}", where_, key, value.type_name());
    }
    std::vector<std::int32_t> ids;
    ids.reserve(value.size());
    for (const json& id : value) {
      if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<std::int32_t>::max()) {
        throw PromptError("{}: \"{}\" must hold token ids, got {}", where_, key, id.dump());
      }
      ids.push_back(id.get<std::int32_t>());
    }
    return ids;
  }

  std::vector<Prompt::Span> spans() const {
    std::vector<Prompt::Span> spans;
    if (!has("spans")) return spans;
    const json& list = line_.at("spans");
    if (!list.is_array()) throw PromptError("{}: \"spans\" must be a list, got {}", where_, list.type_name());
    for (const json& entry : list) {
      const bool sound = entry.is_object() && entry.contains("name") && entry["name"].is_string() &&
                         entry.contains("start") && entry["start"].is_number_integer() && entry.contains("end") &&
                         entry["end"].is_number_integer();
      if (!sound) {
        throw PromptError("{}: a span must be {{\"name\": text, \"start\": number, \"end\": number}}, got {}", where_,
                          entry.dump());
      }
      spans.push_back({entry["name"], entry["start"], entry["end"]});
    }
    return spans;
  }

 private:
  const json& line_;
  std::string where_;
};

Prompt parse_line(const std::string& text, const std::filesystem::path& path, std::size_t number) {
  const std::string where = fmt::format("{}:{}", path.string(), number);
  json line;
  try {
    line = parse_object(text, where);
  } catch (const core::InputError& error) {
    throw PromptError("{}; each line must be one JSON object", error.what());
  }
  const LineReader reader(line, where);
  Prompt prompt;
  prompt.id = reader.has("id") ? reader.text("id") : fmt::format("{}-{}", path.stem().string(), number);
  prompt.task = reader.has("task") ? reader.text("task") : path.stem().string();
  prompt.source = fmt::format("{}:{}", path.filename().string(), number);
  prompt.text = reader.text("prompt");
  prompt.answer = reader.text("answer");
  prompt.tokens = reader.token_ids("tokens");
  prompt.answer_tokens = reader.token_ids("answer_tokens");
  prompt.spans = reader.spans();
  if (prompt.id.empty()) throw PromptError("{}: \"id\" is empty", where);
  if (reader.has("prompt") == reader.has("tokens")) {
    throw PromptError("{}: must have either \"prompt\" (text) or \"tokens\" (token ids)", where);
  }
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

/// Cuts the middle so that `limit` positions remain: the first limit/2 and the last ones.
void cut_middle(TokenizedPrompt& prompt, std::int64_t limit) {
  const auto length = static_cast<std::int64_t>(prompt.tokens.size());
  if (limit <= 0 || length <= limit) return;
  const std::int64_t head = limit / 2;
  const std::int64_t removed = length - limit;
  prompt.tokens.erase(prompt.tokens.begin() + head, prompt.tokens.begin() + head + removed);
  const auto moved = [&](trace::Index position) -> trace::Index {
    if (position <= head) return position;
    return position < head + removed ? head : position - removed;
  };
  std::vector<trace::Span> kept;
  for (const trace::Span& span : prompt.spans) {
    const trace::Span cut{span.name, moved(span.begin), moved(span.end)};
    if (cut.begin < cut.end) kept.push_back(cut);
  }
  prompt.spans = std::move(kept);
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
  prompt.tokens.resize(static_cast<std::size_t>(context->end));
}

}  // namespace

std::vector<Prompt> read_prompts(const std::filesystem::path& path) {
  const std::string content = core::read_text(path);
  std::vector<Prompt> prompts;
  std::set<std::string> ids;
  std::size_t number = 0;
  for (const std::string& line : core::split(content, '\n')) {
    ++number;
    if (core::trim(line).empty()) continue;
    prompts.push_back(parse_line(line, path, number));
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

TokenizedPrompt tokenize(const Prompt& prompt, const TextTokenizer* tokenizer, const TokenizeOptions& options) {
  TokenizedPrompt result{prompt.id, prompt.task, prompt.source, {}, {}, 0, {}};
  if (prompt.tokens) {
    result.tokens = *prompt.tokens;
    const auto length = static_cast<std::int64_t>(result.tokens.size());
    for (const Prompt::Span& span : prompt.spans) {
      check_span(span, length, prompt.id, "positions");
      result.spans.push_back({span.name, span.start, span.end});
    }
  } else if (!prompt.text.empty()) {
    Encoding encoding = require(tokenizer, prompt).encode(prompt.text, options.add_special_tokens);
    const std::vector<std::size_t> bytes = code_point_offsets(prompt.text);
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
  cut_middle(result, options.max_positions);
  if (options.evict_at == EvictAt::kContext) split_after_context(result);

  const bool has_answer = prompt.answer_tokens ? !prompt.answer_tokens->empty() : !prompt.answer.empty();
  const auto kind = options.future.kind == FutureRule::Kind::kAuto
                        ? (has_answer ? FutureRule::Kind::kAnswer : FutureRule::Kind::kGenerate)
                        : options.future.kind;
  if (kind == FutureRule::Kind::kGenerate) {
    result.generate = options.future.count;
  } else {
    if (!has_answer)
      throw PromptError("prompt '{}' ({}): has no \"answer\" for --future answer", prompt.id, prompt.source);
    const std::vector<std::int32_t> answer =
        prompt.answer_tokens ? *prompt.answer_tokens : require(tokenizer, prompt).encode(prompt.answer, false).ids;
    result.future.insert(result.future.end(), answer.begin(), answer.end());
  }
  return result;
}

}  // namespace evictlab::runtime
