#include "runtime/live/outcome.hpp"

#include <algorithm>
#include <stdexcept>

#include "runtime/live/next_token.hpp"
#include "runtime/live/text_metrics.hpp"
#include "runtime/sampling.hpp"

namespace evictlab::runtime {
namespace {

// Where a stop must follow, an output may go on for so many tokens more than the answer has.
constexpr std::size_t kBeyondAnswer = 16;

std::span<const float> row_of(const trace::RowMatrix& logits, Index row) {
  return {logits.row(row).data(), static_cast<std::size_t>(logits.cols())};
}

/// What must come after a turn's token: the next of the turn, or its stop.
std::optional<std::int32_t> target(const Turn& turn, Index row) {
  const auto next = static_cast<std::size_t>(row) + 1;
  return next < turn.tokens.size() ? std::optional(turn.tokens[next]) : turn.stop_token;
}

/// Up to the stop, where there is one.
std::string before_stop(std::string text, const std::string& stop) {
  if (!stop.empty()) text.resize(std::min(text.size(), text.find(stop)));
  return text;
}

TextScores scores_of(const std::string& output, const std::string& answer) {
  return {exact_match(output, answer), word_f1(output, answer), rouge_l(output, answer)};
}

}  // namespace

ForcedOutcome forced_outcome(const Turn& turn, const trace::RowMatrix& reference, const trace::RowMatrix& logits) {
  ForcedOutcome outcome;
  double rows = 0.0;
  double targets = 0.0;
  double nll = 0.0;
  for (Index row = turn.first_row(); row < logits.rows(); ++row) {
    const auto ours = row_of(logits, row);
    const auto full = row_of(reference, row);
    outcome.kl_by_step.push_back(kl_divergence(full, ours));
    outcome.kl += outcome.kl_by_step.back();
    outcome.top1_agreement += largest_logit(full) == largest_logit(ours) ? 1.0 : 0.0;
    rows += 1.0;
    if (const auto token = target(turn, row)) {
      nll -= log_probability(ours, *token);
      targets += 1.0;
    }
  }
  outcome.kl /= rows;
  outcome.top1_agreement /= rows;
  if (targets > 0.0) outcome.nll = nll / targets;
  return outcome;
}

double TextScores::by_name(const std::string& metric) const {
  if (metric == "exact") return exact;
  if (metric == "f1") return f1;
  if (metric == "rouge-l") return rouge_l;
  throw std::invalid_argument("no metric '" + metric + "'");
}

std::size_t most_tokens(const Turn& turn, bool model_can_end) {
  const bool ends = model_can_end && (!turn.stop.empty() || turn.stop_token);
  return turn.answer().size() + (ends ? kBeyondAnswer : 0);
}

WrittenOutcome written_outcome(const Turn& turn, std::span<const float> first_logits,
                               const std::function<Continuation()>& begin, const Detokenizer& text, std::size_t most) {
  const auto answer = turn.answer();
  const auto given = std::span(turn.tokens).first(static_cast<std::size_t>(turn.given));
  const HasEnded ended = [&](std::span<const std::int32_t> tokens) {
    return !turn.stop.empty() && text.with_special(tokens).find(turn.stop) != std::string::npos;
  };
  const auto output = [&](std::span<const std::int32_t> tokens) {
    const bool stopped = ended(tokens);
    return stopped ? before_stop(text.with_special(tokens), turn.stop) : text.plain(tokens);
  };
  // The same prompt goes on from the same cache: what was asked is read again for each.
  const auto write = [&](std::optional<std::int32_t> first) {
    Continuation continuation = begin();
    std::int32_t next = greedy_token(first_logits);
    if (!given.empty()) {
      const trace::RowMatrix logits = continuation.read(given);
      next = greedy_token(row_of(logits, logits.rows() - 1));
    }
    return continuation.write(first.value_or(next), most, ended);
  };

  const Written whole = write(std::nullopt);
  WrittenOutcome outcome;
  outcome.whole = scores_of(output(whole.tokens), text.plain(answer));
  outcome.length = static_cast<Index>(whole.tokens.size());
  outcome.steps = whole.steps;
  outcome.seconds = whole.seconds;
  if (answer.size() < 2) return outcome;
  const bool first_is_right = !whole.tokens.empty() && whole.tokens.front() == answer.front();
  const Written rest = first_is_right ? whole : write(answer.front());
  outcome.after_first = scores_of(output(std::span(rest.tokens).subspan(1)), text.plain(answer.subspan(1)));
  return outcome;
}

}  // namespace evictlab::runtime
