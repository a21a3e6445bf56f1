#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/live/compacted_run.hpp"

namespace evictlab::runtime {

/// What teacher forcing shows over the rows of a turn that the cache answers for (Turn::first_row()), means in nats.
struct ForcedOutcome {
  double kl = 0.0;                 // from the full cache's next-token distributions
  std::optional<double> nll;       // of the answer's tokens after the first row, and of what must follow; none if none
  double top1_agreement = 0.0;     // share of rows whose most probable token is the full cache's
  std::vector<double> kl_by_step;  // of each of these rows: kl is their mean
};
/// `reference` and `logits` [tokens, vocab] of the same turn.
ForcedOutcome forced_outcome(const Turn& turn, const trace::RowMatrix& reference, const trace::RowMatrix& logits);

/// How an output is judged (text_metrics.hpp).
struct TextScores {
  double exact = 0.0;
  double f1 = 0.0;
  double rouge_l = 0.0;
  /// By the name that prompts files have: exact, f1, rouge-l.
  double by_name(const std::string& metric) const;
};

/// What the model wrote by itself.
struct WrittenOutcome {
  TextScores whole;                       // all of it, the first token being the full cache's where nothing was asked
  std::optional<TextScores> after_first;  // of the rest, when the answer's first token is given; none if that is all
  Index length = 0;                       // tokens written
  Index steps = 0;                        // read one by one for it, and how long they took
  double seconds = 0.0;
};

/// Tokens as text: without special tokens, and with them.
struct Detokenizer {
  std::function<std::string(std::span<const std::int32_t>)> plain;
  std::function<std::string(std::span<const std::int32_t>)> with_special;
};

/// So many tokens at most: what the answer has, and more where a stop must follow, so that too long an output is seen.
std::size_t most_tokens(const Turn& turn, bool model_can_end);

/// Writes the answer to a turn. `begin` makes a continuation that has read everything before the turn; `first_logits`
/// are those of the full cache after what comes before, used where the turn has no given tokens.
WrittenOutcome written_outcome(const Turn& turn, std::span<const float> first_logits,
                               const std::function<Continuation()>& begin, const Detokenizer& text, std::size_t most);

}  // namespace evictlab::runtime
