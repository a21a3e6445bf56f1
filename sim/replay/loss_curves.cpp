#include "sim/replay/loss_curves.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <optional>

#include "core/interrupt.hpp"
#include "core/parallel.hpp"
#include "sim/policy/fitted.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

constexpr Index kSinks[] = {0, 1, 4};
constexpr Index kRecent[] = {0, 4, 8, 16, 32, 64};

analysis::ErrorUnit error_unit(LossUnit unit) {
  switch (unit) {
    case LossUnit::kStream:
      return analysis::ErrorUnit::kStream;
    case LossUnit::kSquared:
      return analysis::ErrorUnit::kSquared;
    case LossUnit::kFisher:
      return analysis::ErrorUnit::kFisher;
    default:
      return analysis::ErrorUnit::kOutput;
  }
}

/// What the unit reads beside the scorers.
trace::Fields unit_fields(LossUnit unit) {
  trace::Fields fields = trace::Field::kFutureMass;
  if (unit == LossUnit::kMass) return fields;
  fields |= trace::Field::kQueries | trace::Field::kKeys | trace::Field::kValues;
  fields |= trace::Field::kOutputNorms;
  if (unit == LossUnit::kStream) fields |= trace::Field::kResidualNorms;
  if (unit == LossUnit::kFisher) fields |= trace::Field::kOutputGradients;
  return fields;
}

void check(const trace::Source& source, std::span<const Index> prompts, std::span<const FitScorer> scorers,
           LossUnit unit) {
  for (const Index index : prompts) {
    const trace::PromptInfo& prompt = source.prompts()[static_cast<std::size_t>(index)];
    if (static_cast<Index>(prompt.layers.size()) != source.model().layers) {
      throw PolicyError("prompt '{}' recorded {} of {} layers; a policy is fitted to all of them", prompt.id,
                        prompt.layers.size(), source.model().layers);
    }
    if (prompt.future_length == 0) {
      throw PolicyError("prompt '{}' records no future queries (T = 0), so there is nothing to judge by", prompt.id);
    }
    for (const trace::Field field : trace::kAllFields) {
      if (!unit_fields(unit).contains(field) || prompt.recorded().contains(field)) continue;
      throw PolicyError(
          "prompt '{}' lacks {}, without which losses in units of {} cannot be measured (record with --tier full{}, or "
          "fit with --unit {})",
          prompt.id, trace::field_name(field), loss_unit_name(unit),
          field == trace::Field::kOutputGradients ? " --gradients" : "",
          field == trace::Field::kOutputGradients ? "output" : "mass");
    }
    for (const FitScorer& scorer : scorers) {
      Policy policy = make_policy(scorer.policy);
      check_needs(policy, prompt);
      if (policy.needs().window_rows > prompt.prompt_length) {
        throw PolicyError("{} reads the last {} prompt queries; prompt '{}' has {}", policy.label(),
                          policy.needs().window_rows, prompt.id, prompt.prompt_length);
      }
    }
  }
}

/// W_O of a layer, which serves all prompts.
struct OutputWeight {
  trace::RowMatrix matrix;             // [H*d, hidden]
  std::vector<Eigen::MatrixXf> grams;  // [G] analysis::output_gram()

  OutputWeight(trace::RowMatrix weight, const trace::LayerShape& shape)
      : matrix(std::move(weight)), grams(static_cast<std::size_t>(shape.kv_heads)) {
    core::parallel_for(grams.size(),
                       [&](std::size_t g) { grams[g] = analysis::output_gram(shape, matrix, static_cast<Index>(g)); });
  }
};

/// Measures one layer of one prompt.
class LayerCurves {
 public:
  /// `output_weight` [H*d, hidden] and what is made of it; null where neither the unit nor a scorer needs it.
  LayerCurves(const trace::LayerData& data, std::string_view prompt, std::span<const FitScorer> scorers, LossUnit unit,
              const OutputWeight* output_weight)
      : shape_(data.shape),
        future_(trace::future_view(data)),
        summary_(data.shape, future_),
        unit_(unit),
        output_weight_(output_weight) {
    trace::LayerView view = trace::layer_view(data);
    view.prompt = prompt;
    if (output_weight != nullptr) view.output_weight = &output_weight->matrix;
    scores_.resize(scorers.size());
    core::parallel_for(scorers.size(), [&](std::size_t s) { scores_[s] = kv_head_scores(*scorers[s].scorer, view); });
    if (unit != LossUnit::kMass) reference_.emplace(shape_, future_, output_weight->matrix);
  }

  /// Writes the losses of a head that holds as a candidate says, at every count below all visible positions.
  void measure(Index kv_head, const FitCandidate& candidate, std::span<const Index> counts,
               std::span<float> losses) const {
    const trace::RowMatrix& scores = scores_[candidate.scorer];
    const std::span row(scores.row(kv_head).data(), static_cast<std::size_t>(scores.cols()));
    const std::vector<std::int32_t> order = holding_order(row, {shape_, candidate.protection});
    const auto all = std::ranges::lower_bound(counts, std::ssize(order));
    const std::span asked = counts.first(static_cast<std::size_t>(all - counts.begin()));
    std::vector<double> own;
    if (reference_) {
      own = reference_->head_losses(kv_head, {.always = {}, .ranked = order, .counts = asked},
                                    output_weight_->grams[static_cast<std::size_t>(kv_head)], error_unit(unit_));
    } else {
      own = lost_mass(kv_head, order, asked);
    }
    std::ranges::fill(losses, 0.0F);
    std::ranges::transform(own, losses.begin(), [](double loss) { return static_cast<float>(loss); });
  }

 private:
  /// The mean over the head's query heads of the future mass that is lost, a share.
  std::vector<double> lost_mass(Index kv_head, std::span<const std::int32_t> order,
                                std::span<const Index> counts) const {
    std::vector<double> lost(counts.size(), 0.0);
    std::vector<analysis::KeptSums> sums(counts.size());
    const Index group = shape_.group_size();
    for (Index h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      summary_.sums_in_order(h, {}, order, counts, sums);
      const double all = summary_.everything(h).mass;
      const double unit = static_cast<double>(group * shape_.future_length);
      for (std::size_t i = 0; i < lost.size(); ++i) lost[i] += std::max(0.0, all - sums[i].mass) / unit;
    }
    return lost;
  }

  trace::LayerShape shape_;
  trace::FutureView future_;
  analysis::SummaryReference summary_;
  LossUnit unit_;
  std::vector<trace::RowMatrix> scores_;  // of every scorer, [G, n]
  const OutputWeight* output_weight_;
  std::optional<analysis::OutputReference> reference_;
};

}  // namespace

std::string_view loss_unit_name(LossUnit unit) {
  switch (unit) {
    case LossUnit::kStream:
      return "stream";
    case LossUnit::kSquared:
      return "squared";
    case LossUnit::kFisher:
      return "fisher";
    case LossUnit::kMass:
      return "mass";
    case LossUnit::kOutput:
      break;
  }
  return "output";
}

FitScorer fit_scorer(const Policy& policy) { return {policy.text(), fittable_scorer(policy.text())}; }

std::vector<FitCandidate> fit_candidates(std::span<const FitScorer> scorers) {
  std::vector<FitCandidate> candidates;
  for (std::size_t s = 0; s < scorers.size(); ++s) {
    const Index unscored = scorers[s].scorer->unscored_tail();
    std::vector<Index> recent = {unscored};
    std::ranges::copy_if(kRecent, std::back_inserter(recent), [&](Index count) { return count > unscored; });
    for (const Index sinks : kSinks) {
      for (const Index last : recent) candidates.push_back({s, {sinks, last}});
    }
  }
  return candidates;
}

std::vector<Index> fit_counts(Index longest) {
  std::vector<Index> counts = {1};
  for (Index octave = 2; counts.back() < longest; octave *= 2) {
    for (const Index count : {octave, octave + octave / 2}) {
      if (counts.back() < longest) counts.push_back(count);
    }
  }
  return counts;
}

LossCurves measure_loss_curves(const trace::Source& source, std::span<const Index> prompts,
                               std::span<const FitScorer> scorers, LossUnit unit,
                               const std::function<void(double done, double total)>& progress) {
  check(source, prompts, scorers, unit);
  const trace::ModelInfo& model = source.model();
  LossCurves curves{.layers = model.layers,
                    .kv_heads = model.kv_heads,
                    .candidates = fit_candidates(scorers),
                    .counts = {},
                    .prompts = {}};
  Index longest = 1;
  trace::Fields fields = unit_fields(unit);
  for (const FitScorer& scorer : scorers) fields |= scorer.scorer->needs().fields;
  const auto info = [&](Index index) -> const trace::PromptInfo& {
    return source.prompts()[static_cast<std::size_t>(index)];
  };
  for (const Index index : prompts) longest = std::max(longest, info(index).prompt_length);
  curves.counts = fit_counts(longest);

  const std::size_t per_head = curves.candidates.size() * curves.counts.size();
  const double total = static_cast<double>(prompts.size()) * static_cast<double>(model.layers);
  double done = 0.0;
  const bool reads_output_weight = unit != LossUnit::kMass || std::ranges::any_of(scorers, [](const FitScorer& one) {
                                     return one.scorer->needs().output_weight;
                                   });
  std::vector<std::optional<OutputWeight>> weights(static_cast<std::size_t>(model.layers));
  for (const Index index : prompts) {
    const trace::PromptInfo& prompt = info(index);
    PromptCurves& own = curves.prompts.emplace_back();
    own.prompt = prompt.id;
    own.document = prompt.document.empty() ? prompt.id : prompt.document;
    own.task = prompt.task;
    own.length = prompt.prompt_length;
    own.losses.resize(static_cast<std::size_t>(model.layers * model.kv_heads) * per_head);
    const auto read = [&](Index layer) { return source.layer(index, layer, fields); };
    trace::LayerData next = read(0);
    for (Index layer = 0; layer < model.layers; ++layer) {
      core::throw_if_interrupted();
      const trace::LayerData data = std::move(next);
      own.visible.push_back(data.shape.prompt_length - data.shape.first_visible());
      std::optional<OutputWeight>& weight = weights[static_cast<std::size_t>(layer)];
      if (!weight && reads_output_weight) weight.emplace(source.output_weight(layer), data.shape);
      const LayerCurves layer_curves(data, prompt.id, scorers, unit, weight ? &*weight : nullptr);
      const std::size_t work = static_cast<std::size_t>(model.kv_heads) * curves.candidates.size();
      core::parallel_for(work + 1, [&](std::size_t task) {
        if (task == work) {
          if (layer + 1 < model.layers) next = read(layer + 1);
          return;
        }
        const std::size_t head = task / curves.candidates.size();
        const std::size_t first =
            static_cast<std::size_t>(layer * model.kv_heads) * per_head + task * curves.counts.size();
        layer_curves.measure(static_cast<Index>(head), curves.candidates[task % curves.candidates.size()],
                             curves.counts, std::span(own.losses).subspan(first, curves.counts.size()));
      });
      done += 1.0;
      if (progress) progress(done, total);
    }
  }
  return curves;
}

}  // namespace evictlab::sim
