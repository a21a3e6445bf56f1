#include "lab/race.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/hash.hpp"
#include "core/random.hpp"
#include "lab/calibration_input.hpp"
#include "lab/live_setup.hpp"
#include "lab/result_folder.hpp"
#include "lab/resumable.hpp"
#include "lab/validation_rows.hpp"
#include "results/foretell.hpp"
#include "results/labels.hpp"
#include "results/leading.hpp"
#include "results/run_table.hpp"
#include "results/schema.hpp"
#include "results/statistics.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;

struct RaceFiles {
  fs::path validate, race, replay, spans;

  RaceFiles(const fs::path& out, ResultFolder& folder)
      : validate(out / "validate.csv"), race(out / "race.csv"), replay(out / "replay.csv"), spans(out / "spans.csv") {
    folder.plan_manifest(validate);
    for (const fs::path& path : {validate, race, replay, spans}) folder.plan(path);
  }
};

/// What the checkpoint calls a prompt's live runs. No prompt's id has a line break.
std::string live_part(const std::string& prompt) { return prompt + "\nlive"; }

/// Replays these prompts and adds them to the checkpoint.
void replay_for_race(const ValidationPlan& plan, const std::vector<runtime::TokenizedPrompt>& prompts,
                     const std::vector<std::size_t>& share, PromptCheckpoint& checkpoint, Observer& observer) {
  const Stage stage{"replaying", "prompts"};
  for (std::size_t i = 0; i < share.size(); ++i) {
    const runtime::TokenizedPrompt& prompt = prompts[share[i]];
    const sim::ReplayResult result = replay_prompt(plan, read_prompt(plan, prompt));
    checkpoint.write(prompt.id, {{{"replay", &result.replay}, {"spans", &result.spans}}, result.notes});
    observer.progress(stage, static_cast<double>(i + 1), static_cast<double>(share.size()));
  }
}

/// The prompts of each document, by index, in a random order of the documents.
std::vector<std::vector<std::size_t>> shuffled_documents(const std::vector<runtime::TokenizedPrompt>& prompts,
                                                         std::uint64_t seed) {
  std::vector<std::vector<std::size_t>> documents;
  std::map<std::string, std::size_t> places;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const std::string& name = prompts[i].document.empty() ? prompts[i].id : prompts[i].document;
    const auto [place, is_new] = places.try_emplace(name, documents.size());
    if (is_new) documents.emplace_back();
    documents[place->second].push_back(i);
  }
  std::vector<std::size_t> order(documents.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  core::SplitMix64 random(seed);
  results::shuffle(order, random);
  std::vector<std::vector<std::size_t>> shuffled;
  for (const std::size_t document : order) shuffled.push_back(std::move(documents[document]));
  return shuffled;
}

/// The races of all budgets at work on the model.
class Racing {
 public:
  Racing(ValidationPlan& plan, const std::vector<runtime::TokenizedPrompt>& prompts, PromptCheckpoint& checkpoint,
         RaceOutcome& outcome)
      : plan_(plan), prompts_(prompts), checkpoint_(checkpoint), outcome_(outcome) {
    const double alpha = results::alpha_of_pair(outcome_.fields);
    for (std::size_t i = 0; i < outcome_.fields.size(); ++i) {
      const results::RaceField& field = outcome_.fields[i];
      outcome_.races.emplace_back(field.racing.size(), alpha);
      for (std::size_t k = 0; k < field.racing.size(); ++k) places_[{field.racing[k], field.budget}] = {i, k};
    }
    plan_.replay = false;
    plan_.runs_live = [this](const sim::Policy& policy, const sim::Budget& budget) {
      const auto place = places_.find({{policy.name, policy.parameters}, budget.text()});
      if (place == places_.end()) return false;
      const results::Race& race = outcome_.races[place->second.first];
      return !race.over() && race.running(place->second.second);
    };
  }
  ~Racing() { plan_.runs_live = {}; }
  Racing(const Racing&) = delete;
  Racing& operator=(const Racing&) = delete;

  void run(const std::vector<std::vector<std::size_t>>& documents, Observer& observer) {
    const Stage stage{"racing", "documents"};
    double done = 0.0;
    for (const std::vector<std::size_t>& document : documents) {
      if (std::ranges::all_of(outcome_.races, &results::Race::over)) return;
      run_document(document);
      observer.progress(stage, done += 1.0, static_cast<double>(documents.size()));
    }
  }

  /// Prompts that ran live, in their order.
  std::vector<std::string> parts() const {
    std::vector<std::string> ids;
    for (std::size_t i = 0; i < prompts_.size(); ++i) {
      if (ran_.contains(i)) ids.push_back(live_part(prompts_[i].id));
    }
    return ids;
  }

 private:
  using Place = std::pair<std::size_t, std::size_t>;  // budget, place among its racing

  void run_document(const std::vector<std::size_t>& document) {
    std::map<Place, std::vector<double>> kl;
    for (const std::size_t i : document) {
      const runtime::TokenizedPrompt& prompt = prompts_[i];
      const std::string part = live_part(prompt.id);
      if (!checkpoint_.contains(part)) {
        const ValidatedPrompt live = validate_prompt(plan_, prompt, read_prompt(plan_, prompt), [](double) {});
        checkpoint_.write(part, {{{"validate", &live.validate}}, live.replay.notes});
      }
      ran_.insert(i);
      // Read back in any case, so that a race that is resumed decides by the same digits.
      const results::Table rows = results::Table::from_csv(checkpoint_.merge({part}).tables["validate"], "validate");
      for (const results::Run& run : results::runs_over_layers(rows)) {
        if (run.turn != 1) continue;
        if (const auto value = rows.number(run.row, rows.column("kl"))) {
          kl[places_.at({run.key, run.budget_text})].push_back(*value);
        }
        ++outcome_.runs;
      }
    }
    for (std::size_t budget = 0; budget < outcome_.races.size(); ++budget) {
      if (outcome_.races[budget].over()) continue;
      std::vector<double> means(outcome_.fields[budget].racing.size(), 0.0);
      for (std::size_t k = 0; k < means.size(); ++k) {
        if (const auto own = kl.find({budget, k}); own != kl.end()) means[k] = results::mean(own->second);
      }
      outcome_.races[budget].add(means);
    }
  }

  ValidationPlan& plan_;
  const std::vector<runtime::TokenizedPrompt>& prompts_;
  PromptCheckpoint& checkpoint_;
  RaceOutcome& outcome_;
  std::map<std::pair<results::PolicyKey, std::string>, Place> places_;
  std::set<std::size_t> ran_;
};

/// Reports the methods that do not race, other than those that replay separates.
void report_excluded(const std::vector<results::RaceField>& fields, Observer& observer) {
  for (const results::RaceField& field : fields) {
    for (const results::RaceField::Out& out : field.out) {
      const std::string what = fmt::format("{} at {}", results::full_label(out.key), field.budget);
      if (out.why == results::Excluded::kCannotRun) {
        observer.message(Topic::kLeftOut, what + " cannot run on every prompt and does not race");
      } else if (out.why == results::Excluded::kMoreSlots) {
        observer.message(Topic::kLeftOut, what + " holds more slots than asked for and does not race");
      }
    }
  }
}

void require_methods(const std::vector<sim::Policy>& policies) {
  const auto methods = std::ranges::count(policies, results::Role::kMethod, &sim::Policy::role);
  if (methods >= 2) return;
  throw core::InputError("--undecided: {} to race; controls and ceilings do not",
                         methods == 1 ? "there is only one method" : "there are no methods");
}

void write_race(const RaceOptions& options, ResultFolder& folder, const RaceFiles& files,
                const PromptCheckpoint::Merged& replayed, const results::Table& replay,
                const nlohmann::ordered_json& details, RaceOutcome& outcome) {
  const auto write = [&](const fs::path& path, std::string_view csv) {
    folder.write(path, csv);
    outcome.files.push_back(path);
  };
  write(files.validate, outcome.validate.to_csv());
  write(files.race, outcome.race.to_csv());
  write(files.replay, replay.to_csv());
  if (const auto spans = replayed.tables.find("spans"); spans != replayed.tables.end() && !spans->second.empty()) {
    write(files.spans, spans->second);
  }
  nlohmann::ordered_json all = details;
  all["calibration"] = options.calibration.string();
  all["alpha"] = results::kRaceAlpha;
  all["alpha_of_pair"] = results::alpha_of_pair(outcome.fields);
  all["live_runs"] = outcome.runs;
  all["live_runs_of_all"] = outcome.runs_of_all;
  folder.write_manifest(files.validate, all);
  folder.commit();
}

}  // namespace

RaceOutcome race(const RaceOptions& options, Observer& observer) {
  const ValidateOptions& run = options.run;
  Ranks alone = Ranks::alone();
  Ranks& ranks = run.ranks != nullptr ? *run.ranks : alone;
  ResultFolder folder(run.force, run.command, prompt_inputs(run.prompts).add_model(run.model).add(options.calibration));
  const RaceFiles files(run.out, folder);
  runtime::RecordOptions record = live_record(run);
  const runtime::Transformer model = open_model(run.model, observer);
  const trace::ModelInfo info = runtime::model_info(model);
  const results::KlPredictor predictor = *read_predictor(options.calibration, info);
  const ModelTokenizer tokenizer(run.model);
  const std::vector<runtime::Prompt> read = gather_prompts(run.prompts, tokenizer);
  std::vector<sim::Policy> policies = live_policies(run.policies, observer);
  record.repeat_chunk = repeat_chunk_for(policies);
  std::vector<runtime::TokenizedPrompt> prompts =
      tokenize_all(read, tokenizer, model.config(), record, run.tokenization);
  merge_documents(prompts, observer);
  const trace::MemoryTrace described = described_prompts(info, prompts, model, record);
  ValidationPlan plan{.model = model,
                      .info = info,
                      .policies = usable_policies(std::move(policies), described, observer),
                      .budgets = sim::parse_budgets(run.budgets),
                      .record = record,
                      .text = detokenizer(read, tokenizer),
                      .most_tokens = run.most_tokens,
                      .teacher_forced = run.teacher_forced};
  require_methods(plan.policies);
  for (trace::Index layer = 0; layer < info.layers; ++layer) plan.output_weights.push_back(model.output_weight(layer));
  ResumableRun resumable{.settings = validation_settings(plan, prompts, run), .restart = run.force};
  resumable.settings["calibration"] = core::content_hash(core::read_text(options.calibration));
  for (const runtime::TokenizedPrompt& prompt : prompts) resumable.prompts.push_back(prompt.id);
  const std::uint64_t seed = core::text_hash(json_text(resumable.settings["prompts"], -1));
  report_conversions(described, plan.budgets, observer);

  PromptCheckpoint checkpoint(run.out, "race");
  RaceOutcome outcome;
  run_resumable(
      resumable, checkpoint, ranks, observer,
      [&](const std::vector<std::size_t>& share) { replay_for_race(plan, prompts, share, checkpoint, observer); },
      [&] {
        PromptCheckpoint::Merged replayed = checkpoint.merge(resumable.prompts);
        report_notes(replayed.notes, kMostNotes, observer);
        std::map<std::string, double> lengths;
        for (const trace::PromptInfo& one : described.prompts()) {
          lengths[one.id] = static_cast<double>(one.prompt_length);
        }
        const results::Table replay = results::foretold(
            results::Table::from_csv(replayed.tables["replay"], files.replay.string()), predictor, lengths);
        if (const std::string note = results::extrapolation_note(replay); !note.empty()) {
          observer.message(Topic::kNote, note);
        }
        const std::vector<results::Run> runs = results::runs_over_layers(replay);
        if (std::ranges::none_of(runs, &results::Run::feasible)) {
          checkpoint.remove();  // no other budget can resume it
          throw core::InputError("validate: {}", why_nothing_ran(runs));
        }
        outcome.fields = results::race_fields(replay, predictor);
        report_excluded(outcome.fields, observer);
        const auto documents = shuffled_documents(prompts, seed);
        outcome.documents = documents.size();
        Racing racing(plan, prompts, checkpoint, outcome);
        try {
          racing.run(documents, observer);
        } catch (const core::Interrupted&) {
          observer.message(Topic::kInterrupted, checkpoint.directory()->string());
          throw;
        }
        const std::string rows = checkpoint.merge(racing.parts()).tables["validate"];
        outcome.validate =
            rows.empty() ? results::new_table("validate") : results::Table::from_csv(rows, files.validate.string());
        outcome.race = results::race_table(outcome.fields, outcome.races);
        for (const results::RaceField& field : outcome.fields) {
          outcome.runs_of_all += (field.racing.size() + field.separated.size()) * prompts.size();
        }
        nlohmann::ordered_json details = {
            {"model", info.name}, {"model_fingerprint", info.fingerprint}, {"prompts", prompts.size()}};
        for (const char* key : {"policies", "budgets", "window", "dtype", "gradients", "evict-at"}) {
          details[key] = resumable.settings.at(key);
        }
        write_race(options, folder, files, replayed, replay, details, outcome);
        checkpoint.remove();
      });
  return outcome;
}

}  // namespace evictlab::lab
