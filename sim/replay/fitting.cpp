#include "sim/replay/fitting.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "core/interrupt.hpp"
#include "core/parallel.hpp"

namespace evictlab::sim {
namespace {

/// Of equal budgets in the mixtures that are tried.
constexpr double kUniformWeights[] = {0.0, 0.25, 0.5, 0.75, 1.0};
/// Choices depend on budgets and budgets on choices: each is renewed so often.
constexpr int kTurns = 3;
/// Prompts of which the longest is no longer than this many times the shortest tell no axis apart.
constexpr double kLengthsApart = 1.5;
constexpr std::size_t kFolds = 5;
constexpr const char* kAllTasks = "all";

using Members = std::vector<const PromptCurves*>;

/// Curves of every head and candidate, averaged over prompts, at the points of an axis.
struct MeanCurves {
  CurveAxis axis = CurveAxis::kCount;
  std::vector<double> points;
  std::vector<double> losses;  // [heads][candidates][points]
  std::size_t candidates = 0;

  std::span<const double> curve(std::size_t head, std::size_t candidate) const {
    return std::span(losses).subspan((head * candidates + candidate) * points.size(), points.size());
  }
};

std::vector<double> points_of(const LossCurves& curves, CurveAxis axis, const Members& members) {
  std::vector<double> points;
  if (axis == CurveAxis::kCount) {
    for (const Index count : curves.counts) points.push_back(static_cast<double>(count));
    return points;
  }
  // The shares that the counts are of the longest prompt, whose first is the smallest any prompt knows.
  Index longest = 1;
  for (const PromptCurves* prompt : members) longest = std::max(longest, prompt->length);
  for (const Index count : curves.counts) {
    if (count < longest) points.push_back(static_cast<double>(count) / static_cast<double>(longest));
  }
  if (points.empty()) points.push_back(1.0);
  return points;
}

/// A prompt's own loss at a real count.
double own_loss(const LossCurves& curves, const PromptCurves& prompt, std::size_t head, std::size_t candidate,
                double count) {
  const auto visible = static_cast<double>(prompt.visible[head / static_cast<std::size_t>(curves.kv_heads)]);
  if (count >= visible) return 0.0;
  return interpolated_loss(std::span(curves.counts), curves.curve(prompt, head, candidate), count, visible);
}

std::map<std::string, Members> by_task(const Members& members) {
  std::map<std::string, Members> tasks;
  for (const PromptCurves* prompt : members) tasks[prompt->task].push_back(prompt);
  return tasks;
}

MeanCurves mean_curves(const LossCurves& curves, const Members& members, CurveAxis axis) {
  MeanCurves mean{
      .axis = axis, .points = points_of(curves, axis, members), .losses = {}, .candidates = curves.candidates.size()};
  const auto tasks = by_task(members);
  const std::size_t heads = static_cast<std::size_t>(curves.layers * curves.kv_heads);
  const std::size_t points = mean.points.size();
  mean.losses.resize(heads * mean.candidates * points, 0.0);
  core::parallel_for(heads, [&](std::size_t head) {
    for (const auto& [task, prompts] : tasks) {
      const double weight = 1.0 / static_cast<double>(tasks.size() * prompts.size());
      for (const PromptCurves* prompt : prompts) {
        const auto visible = static_cast<double>(prompt->visible[head / static_cast<std::size_t>(curves.kv_heads)]);
        for (std::size_t candidate = 0; candidate < mean.candidates; ++candidate) {
          double* own = mean.losses.data() + (head * mean.candidates + candidate) * points;
          for (std::size_t i = 0; i < points; ++i) {
            const double count = axis == CurveAxis::kCount ? mean.points[i] : mean.points[i] * visible;
            own[i] += weight * own_loss(curves, *prompt, head, candidate, count);
          }
        }
      }
    }
    // More positions may lose more, by chance or by what they displace; a budget may always hold fewer.
    for (std::size_t candidate = 0; candidate < mean.candidates; ++candidate) {
      double* own = mean.losses.data() + (head * mean.candidates + candidate) * points;
      for (std::size_t i = 1; i < points; ++i) own[i] = std::min(own[i], own[i - 1]);
    }
  });
  return mean;
}

/// What is fitted to some prompts: a policy, and which candidate every head is.
struct Fitted {
  FittedPolicy policy;
  std::vector<std::size_t> candidates;  // [heads]
};

class Fitter {
 public:
  Fitter(const LossCurves& curves, const trace::ModelInfo& model, const FitSettings& settings)
      : curves_(curves), model_(model), settings_(settings) {}

  /// Fits to curves of prompts whose typical length is `length`.
  Fitted fit(const MeanCurves& mean, const FitChoice& choice, Index length) const {
    const std::size_t heads = head_count();
    Fitted fitted{.policy = empty_policy(mean), .candidates = std::vector<std::size_t>(heads)};
    // Before there are budgets, what a candidate loses at all points of its curve.
    choose(mean, choice, fitted, [&](std::size_t head, std::size_t candidate) {
      const std::span losses = mean.curve(head, candidate);
      return std::accumulate(losses.begin(), losses.end(), 0.0);
    });
    for (int turn = 0; turn < kTurns; ++turn) {
      std::vector<std::vector<Index>> budgets;
      for (const double slots : settings_.slots) budgets.push_back(fitted_budgets(fitted.policy, length, slots));
      choose(mean, choice, fitted, [&](std::size_t head, std::size_t candidate) {
        const Index visible = fitted.policy.visible(static_cast<Index>(head) / curves_.kv_heads, length);
        double loss = 0.0;
        for (const std::vector<Index>& own : budgets) {
          loss +=
              curve_value(mean.points, mean.axis, mean.curve(head, candidate), visible, static_cast<double>(own[head]));
        }
        return loss;
      });
    }
    return fitted;
  }

  std::vector<FitChoice> choices() const {
    std::set<std::size_t> scorers;
    for (const FitCandidate& candidate : curves_.candidates) scorers.insert(candidate.scorer);
    std::vector<FitChoice> all;
    for (const std::size_t scorer : scorers) all.push_back({ScorerLevel::kModel, scorer});
    if (scorers.size() > 1) {
      all.push_back({ScorerLevel::kLayer, 0});
      all.push_back({ScorerLevel::kHead, 0});
    }
    return all;
  }

  std::size_t head_count() const { return static_cast<std::size_t>(curves_.layers * curves_.kv_heads); }

 private:
  FittedPolicy empty_policy(const MeanCurves& mean) const {
    FittedPolicy policy;
    for (Index layer = 0; layer < curves_.layers; ++layer) {
      policy.sliding_windows.push_back(model_.sliding_windows.at(static_cast<std::size_t>(layer)));
      policy.heads.emplace_back(static_cast<std::size_t>(curves_.kv_heads));
    }
    policy.axis = mean.axis;
    policy.points = mean.points;
    policy.per = settings_.per;
    policy.block = settings_.block;
    return policy;
  }

  /// Gives every head the candidate of least loss among those that the choice allows.
  template <typename Loss>
  void choose(const MeanCurves& mean, const FitChoice& choice, Fitted& fitted, const Loss& loss) const {
    const auto group = static_cast<std::size_t>(curves_.kv_heads);
    core::parallel_for(static_cast<std::size_t>(curves_.layers), [&](std::size_t layer) {
      // The best protection of every scorer at every head of the layer.
      std::map<std::size_t, std::vector<std::pair<double, std::size_t>>> best;  // [heads] of (loss, candidate)
      for (std::size_t candidate = 0; candidate < curves_.candidates.size(); ++candidate) {
        const std::size_t scorer = curves_.candidates[candidate].scorer;
        if (choice.level == ScorerLevel::kModel && scorer != choice.scorer) continue;
        auto& own = best[scorer];
        own.resize(group, {std::numeric_limits<double>::infinity(), candidate});
        for (std::size_t g = 0; g < group; ++g) {
          const double value = loss(layer * group + g, candidate);
          if (value < own[g].first) own[g] = {value, candidate};
        }
      }
      const auto sum = [](const auto& heads) {
        double total = 0.0;
        for (const auto& [value, candidate] : heads) total += value;
        return total;
      };
      const auto of_layer = std::ranges::min_element(best, {}, [&](const auto& entry) { return sum(entry.second); });
      for (std::size_t g = 0; g < group; ++g) {
        std::pair<double, std::size_t> chosen = of_layer->second[g];
        if (choice.level == ScorerLevel::kHead) {
          for (const auto& [scorer, heads] : best) {
            if (heads[g].first < chosen.first) chosen = heads[g];
          }
        }
        set(mean, layer, g, chosen.second, fitted);
      }
    });
  }

  void set(const MeanCurves& mean, std::size_t layer, std::size_t g, std::size_t candidate, Fitted& fitted) const {
    const std::size_t head = layer * static_cast<std::size_t>(curves_.kv_heads) + g;
    const std::span losses = mean.curve(head, candidate);
    fitted.candidates[head] = candidate;
    fitted.policy.heads[layer][g] = {
        curves_.candidates[candidate].scorer, curves_.candidates[candidate].protection, {losses.begin(), losses.end()}};
  }

  const LossCurves& curves_;
  const trace::ModelInfo& model_;
  const FitSettings& settings_;
};

Index middle_length(const Members& members) {
  std::vector<Index> lengths;
  for (const PromptCurves* prompt : members) lengths.push_back(prompt->length);
  std::ranges::sort(lengths);
  return lengths[lengths.size() / 2];
}

/// One side is fitted to, the other judged.
struct Split {
  Members fitted;
  Members judged;
};

/// Splits by task where there are three or more and no document has several, else by document; none of fewer than two
/// documents.
std::vector<Split> splits_of(const Members& members) {
  std::map<std::string, std::set<std::string>> tasks;  // of each document
  std::set<std::string> all_tasks;
  for (const PromptCurves* prompt : members) {
    tasks[prompt->document].insert(prompt->task);
    all_tasks.insert(prompt->task);
  }
  const bool over_tasks =
      all_tasks.size() > 2 && std::ranges::all_of(tasks, [](const auto& entry) { return entry.second.size() == 1; });
  std::map<std::string, std::size_t> fold_of;  // of each task or document
  std::size_t next = 0;
  if (over_tasks) {
    for (const std::string& task : all_tasks) fold_of[task] = next++;
  } else {
    for (const auto& [document, own] : tasks) fold_of[document] = next++ % kFolds;
  }
  std::vector<Split> splits(over_tasks ? next : std::min(next, kFolds));
  if (splits.size() < 2) return {};
  for (std::size_t fold = 0; fold < splits.size(); ++fold) {
    for (const PromptCurves* prompt : members) {
      const bool own = fold_of.at(over_tasks ? prompt->task : prompt->document) == fold;
      (own ? splits[fold].judged : splits[fold].fitted).push_back(prompt);
    }
  }
  return splits;
}

/// Short prompts against long ones, both ways; none where lengths are alike.
std::vector<Split> splits_by_length(const Members& members) {
  Members sorted = members;
  std::ranges::stable_sort(sorted, {}, [](const PromptCurves* prompt) { return prompt->length; });
  const auto longest = static_cast<double>(sorted.back()->length);
  if (longest < kLengthsApart * static_cast<double>(sorted.front()->length)) return {};
  const double middle = std::sqrt(longest * static_cast<double>(sorted.front()->length));
  Split up;
  for (const PromptCurves* prompt : sorted) {
    (static_cast<double>(prompt->length) < middle ? up.fitted : up.judged).push_back(prompt);
  }
  return {up, {up.judged, up.fitted}};
}

/// Losses of judged prompts under one choice: by task and budget, their sum and number.
struct Judged {
  std::map<std::pair<std::string, std::size_t>, std::pair<double, double>> sums;

  void add(const std::string& task, std::size_t budget, double loss) {
    auto& [sum, count] = sums[{task, budget}];
    sum += loss;
    count += 1.0;
  }
  double mean(const std::pair<std::string, std::size_t>& key) const {
    const auto& [sum, count] = sums.at(key);
    return sum / count;
  }
  /// Over tasks, at a budget.
  double mean(std::size_t budget) const {
    double sum = 0.0;
    double tasks = 0.0;
    for (const auto& [key, entry] : sums) {
      if (key.second != budget) continue;
      sum += mean(key);
      tasks += 1.0;
    }
    return sum / tasks;
  }
};

/// Which of several is best: the mean or the largest over tasks of the loss relative to the task's best, mean over
/// budgets. Of equal ones the first.
std::size_t best_of(std::span<const Judged> judged, TaskRule rule) {
  std::vector<double> scores(judged.size(), 0.0);
  std::map<std::size_t, std::vector<std::vector<double>>> relative;  // budget -> [tasks][choices]
  for (const auto& [key, entry] : judged.front().sums) {
    std::vector<double> losses;
    for (const Judged& one : judged) losses.push_back(one.mean(key));
    const double least = std::ranges::min(losses);
    for (double& loss : losses) loss = least > 0.0 ? loss / least : loss > 0.0 ? 2.0 : 1.0;
    relative[key.second].push_back(std::move(losses));
  }
  for (const auto& [budget, tasks] : relative) {
    for (std::size_t i = 0; i < scores.size(); ++i) {
      double sum = 0.0;
      double most = 0.0;
      for (const std::vector<double>& losses : tasks) {
        sum += losses[i] / static_cast<double>(tasks.size());
        most = std::max(most, losses[i]);
      }
      scores[i] += rule == TaskRule::kWorst ? most : sum;
    }
  }
  return static_cast<std::size_t>(std::ranges::min_element(scores) - scores.begin());
}

void judge(const LossCurves& curves, const Fitted& fitted, const Members& prompts, std::span<const double> slots,
           Judged& judged) {
  for (const PromptCurves* prompt : prompts) {
    core::throw_if_interrupted();
    for (std::size_t budget = 0; budget < slots.size(); ++budget) {
      const std::vector<Index> budgets = fitted_budgets(fitted.policy, prompt->length, slots[budget]);
      judged.add(prompt->task, budget, loss_on(curves, *prompt, fitted.candidates, budgets));
    }
  }
}

void add_trials(const Judged& judged, const FitTrial& what, std::span<const double> slots,
                std::vector<FitTrial>& trials) {
  for (std::size_t budget = 0; budget < slots.size(); ++budget) {
    FitTrial trial = what;
    trial.slots = slots[budget];
    for (const auto& [key, entry] : judged.sums) {
      if (key.second != budget) continue;
      trial.task = key.first;
      trial.loss = judged.mean(key);
      trials.push_back(trial);
    }
    trial.task = kAllTasks;
    trial.loss = judged.mean(budget);
    trials.push_back(trial);
  }
}

}  // namespace

std::string_view scorer_level_name(ScorerLevel level) {
  switch (level) {
    case ScorerLevel::kLayer:
      return "layer";
    case ScorerLevel::kHead:
      return "head";
    case ScorerLevel::kModel:
      break;
  }
  return "model";
}

double loss_on(const LossCurves& curves, const PromptCurves& prompt, std::span<const std::size_t> candidates,
               std::span<const Index> budgets) {
  double loss = 0.0;
  for (std::size_t head = 0; head < candidates.size(); ++head) {
    loss += own_loss(curves, prompt, head, candidates[head], static_cast<double>(budgets[head]));
  }
  return loss;
}

Fit fit_policy(const LossCurves& curves, std::span<const FitScorer> scorers, const trace::ModelInfo& model,
               const FitSettings& settings) {
  if (curves.prompts.empty()) throw PolicyError("there are no prompts to fit a policy to");
  Members all;
  for (const PromptCurves& prompt : curves.prompts) all.push_back(&prompt);
  const Fitter fitter(curves, model, settings);
  const std::vector<FitChoice> choices = fitter.choices();
  Fit result;

  // Which axis carries over between lengths, judged with one scorer for the model: the first.
  CurveAxis axis = CurveAxis::kCount;
  if (const std::vector<Split> splits = splits_by_length(all); !splits.empty()) {
    std::vector<Judged> judged(2);
    for (const Split& split : splits) {
      for (const CurveAxis tried : {CurveAxis::kCount, CurveAxis::kShare}) {
        const MeanCurves mean = mean_curves(curves, split.fitted, tried);
        judge(curves, fitter.fit(mean, choices.front(), middle_length(split.fitted)), split.judged, settings.slots,
              judged[tried == CurveAxis::kShare ? 1 : 0]);
      }
    }
    axis = best_of(judged, settings.tasks) == 1 ? CurveAxis::kShare : CurveAxis::kCount;
    for (const CurveAxis tried : {CurveAxis::kCount, CurveAxis::kShare}) {
      add_trials(judged[tried == CurveAxis::kShare ? 1 : 0], {.choice = choices.front(), .axis = tried}, settings.slots,
                 result.trials);
    }
  }

  const std::vector<Split> splits = splits_of(all);
  std::size_t chosen = choices.size() - 1;  // without anything held out, what fits closest
  double weight = 0.0;
  std::vector<double> held_out;
  std::vector<double> uniform;
  if (!splits.empty()) {
    constexpr std::size_t kWeights = std::size(kUniformWeights);
    double done = 0.0;
    std::vector<std::vector<Judged>> judged(choices.size(), std::vector<Judged>(kWeights));
    for (const Split& split : splits) {
      const MeanCurves mean = mean_curves(curves, split.fitted, axis);
      for (std::size_t c = 0; c < choices.size(); ++c) {
        Fitted fitted = fitter.fit(mean, choices[c], middle_length(split.fitted));
        for (std::size_t w = 0; w < kWeights; ++w) {
          fitted.policy.uniform_weight = kUniformWeights[w];
          judge(curves, fitted, split.judged, settings.slots, judged[c][w]);
        }
        done += 1.0;
        if (settings.progress) settings.progress(done, static_cast<double>(splits.size() * choices.size()));
      }
    }
    std::vector<Judged> first;
    for (const auto& own : judged) first.push_back(own.front());
    chosen = best_of(first, settings.tasks);
    const std::size_t w = best_of(judged[chosen], settings.tasks);
    weight = kUniformWeights[w];
    result.cross_validated = true;
    for (std::size_t budget = 0; budget < settings.slots.size(); ++budget) {
      held_out.push_back(judged[chosen][w].mean(budget));
      uniform.push_back(judged[chosen].back().mean(budget));
    }
    for (std::size_t c = 0; c < choices.size(); ++c) {
      for (std::size_t i = 0; i < kWeights; ++i) {
        add_trials(judged[c][i], {.choice = choices[c], .uniform_weight = kUniformWeights[i], .axis = axis},
                   settings.slots, result.trials);
      }
    }
  }

  result.length = middle_length(all);
  result.choice = choices[chosen];
  result.fitted = fitter.fit(mean_curves(curves, all, axis), result.choice, result.length).policy;
  result.fitted.uniform_weight = weight;
  for (const FitScorer& scorer : scorers) result.fitted.scorers.push_back(scorer.policy);
  FitProvenance& fit = result.fitted.provenance;
  std::set<std::string> documents;
  std::set<std::string> tasks;
  fit.shortest = all.front()->length;
  for (const PromptCurves* prompt : all) {
    documents.insert(prompt->document);
    tasks.insert(prompt->task);
    fit.shortest = std::min(fit.shortest, prompt->length);
    fit.longest = std::max(fit.longest, prompt->length);
  }
  fit.documents = {documents.begin(), documents.end()};
  fit.tasks = {tasks.begin(), tasks.end()};
  fit.slots = settings.slots;
  fit.held_out_loss = held_out;
  fit.uniform_loss = uniform;
  return result;
}

}  // namespace evictlab::sim
