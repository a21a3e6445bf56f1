#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "runtime/tokenizer/text_tokenizer.hpp"
#include "trace/model.hpp"

namespace evictlab::runtime {

/// A prompt cannot be read or used.
class PromptError : public core::InputError {
 public:
  using core::InputError::InputError;
};

/// What one side of a conversation says.
struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

/// One line of a prompts file:
///
///     {"id": "needle-0", "task": "needle", "prompt": "...", "answer": "2461",
///      "spans": [{"name": "context", "start": 13, "end": 1149}]}
///
/// `prompt` is text, or `tokens` gives token ids, or `messages` a conversation [{"role", "content"}] that ends with a
/// user's turn and is written by the model's chat template (apply_chat()). `answer` is text (for `tokens`:
/// `answer_tokens`). Spans count Unicode code points of the text (positions, for token ids), end exclusive; in a
/// conversation, of the content of the message that "message" numbers from 0.
/// `stop` is the text that must follow the answer; `metric` (exact, f1, rouge-l) how it is judged; `followups` a list
/// of further questions to the same prompt, each {"prompt": "...", "answer": "...", "stop": "..."}. `depth` (0..1) says
/// where in the prompt what is asked for lies. `add_special_tokens`: false says that the text has its BOS token
/// already. `document` names the text that the prompt was made from. Everything but prompt, tokens or messages may be
/// missing; other keys are ignored.
struct Prompt {
  struct Span {
    std::string name;
    std::int64_t start = 0;
    std::int64_t end = 0;
    std::size_t message = 0;
  };

  std::string id;      // default: "<file's stem>-<line>"
  std::string task;    // default: the file's stem
  std::string source;  // "<file's name>:<line>"
  std::string text;
  std::string answer;
  std::optional<std::vector<std::int32_t>> tokens;
  std::optional<std::vector<std::int32_t>> answer_tokens;
  std::vector<Span> spans;
  std::string stop = {};
  std::string metric = "exact";
  std::optional<double> depth = {};
  struct Followup {
    std::string text;
    std::string answer;
    std::string stop;
  };
  std::vector<Followup> followups = {};
  std::int64_t answer_length = 0;  // tokens a benchmark lets a model answer with; 0 = it does not say
  bool cut_to_fit = false;         // the benchmark cuts the middle out of what is too long for a model
  bool from_template = false;      // its words are those of a template of the user's
  /// What the answer is made to begin with: read with the prompt, not judged.
  struct AnswerStart {
    std::string plain;  // after a text
    std::string chat;   // in the assistant's turn
  };
  AnswerStart answer_start = {};
  std::vector<ChatMessage> messages = {};  // instead of a text, until apply_chat()
  bool has_special_tokens = false;         // the text has what the tokenizer would put around it
  std::string document = {};               // the text that the prompt was made from; may be empty
};

class PromptTemplate;

/// The prompts of a JSONL file, in order; blank lines are skipped. Lines are as above, or those of a benchmark
/// (runtime/prompts/benchmark_line.hpp), whose own prompts `form` replaces where it is not null. Throws PromptError
/// naming file and line.
std::vector<Prompt> read_prompts(const std::filesystem::path& path, const PromptTemplate* form = nullptr);
/// A text file as one prompt.
Prompt read_text_prompt(const std::filesystem::path& path);

/// Where eviction happens: after the whole prompt, or after its span "context" (question-agnostic: the
/// rest of the prompt becomes future).
enum class EvictAt { kPrompt, kContext };

/// What the future queries are.
struct FutureRule {
  enum class Kind {
    kAuto,      // the answer where the prompt has one, otherwise as kAllowed
    kAnswer,    // the answer's tokens, teacher-forced
    kGenerate,  // `count` generated tokens
    kAllowed,   // generated tokens, as many as the prompt's benchmark allows; `count` where it does not say
  };
  Kind kind = Kind::kAuto;
  std::int64_t count = 32;
};

/// A prompt in tokens, ready to be recorded.
struct TokenizedPrompt {
  std::string id;
  std::string task;
  std::string source;
  std::vector<std::int32_t> tokens;             // [n]
  std::vector<std::int32_t> future;             // teacher-forced tokens at positions n, n+1, ...; may be empty
  std::int64_t generate = 0;                    // tokens to generate after them
  std::vector<trace::Span> spans;               // of positions 0..n-1 and, with kContext, of the future ones
  trace::Index asked = 0;                       // so many of the future's tokens are given: the question, with kContext
  std::string answer = {};                      // its text; empty where tokens are all there is
  std::string stop = {};                        // the text that must follow the answer
  std::optional<std::int32_t> stop_token = {};  // its first token
  std::string metric = "exact";
  std::optional<double> depth = {};
  /// Questions that follow: tokens given, and the answer to them.
  struct Followup {
    std::vector<std::int32_t> given;
    std::vector<std::int32_t> answer;
    std::string text;  // of the answer
    std::string stop;
    std::optional<std::int32_t> stop_token;
  };
  std::vector<Followup> followups = {};
  std::string document = {};  // the text that the prompt was made from; may be empty
};

struct TokenizeOptions {
  EvictAt evict_at = EvictAt::kPrompt;
  FutureRule future{};
  std::int64_t max_positions = 0;  // longer prompts lose their middle, as LongBench's scripts do, but no span other
                                   // than the context; 0 = never
  std::int64_t model_positions =
      0;                           // the model's; prompts with cut_to_fit that are longer lose their middle; 0 = never
  bool add_special_tokens = true;  // what the tokenizer's post-processor adds (a BOS token, usually)
};

/// The first span other than "context" that would lose positions if the middle was cut out of so many positions to
/// leave `limit`, or a context of which nothing would remain; null when there is none.
const trace::Span* span_lost_by_cutting(const std::vector<trace::Span>& spans, std::int64_t positions,
                                        std::int64_t limit);

/// `tokenizer` may be null for prompts given as token ids throughout. Throws PromptError naming the
/// prompt: empty, no context span for kContext, no answer for kAnswer, a span that would be cut, ... A benchmark's
/// prompt (cut_to_fit) may lose a part of any span, but no whole one.
TokenizedPrompt tokenize(const Prompt& prompt, const TextTokenizer* tokenizer, const TokenizeOptions& options);

}  // namespace evictlab::runtime
