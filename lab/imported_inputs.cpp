#include "lab/imported_inputs.hpp"

#include <fmt/format.h>

#include <map>
#include <optional>

#include "core/json.hpp"
#include "trace/io/hdf5/file.hpp"
#include "trace/io/retention_file.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;
using sim::Granularity;
using sim::PolicyError;
using trace::Index;
using trace::RowMatrix;

Granularity granularity_of(const fs::path& path, const std::string& object, std::uint64_t heads,
                           const trace::ModelInfo& model) {
  if (heads == static_cast<std::uint64_t>(model.kv_heads)) return Granularity::kKvHead;
  if (heads == static_cast<std::uint64_t>(model.query_heads)) return Granularity::kQueryHead;
  if (heads == 1) return Granularity::kLayer;
  throw PolicyError("{}: {} is for {} heads; the model has {} query heads and {} kv heads", path.string(), object,
                    heads, model.query_heads, model.kv_heads);
}

// Where a prompt's objects are: /prompts/<id>, or the root where the trace has one prompt and the file no /prompts.
std::string group_of(const trace::hdf5::File& file, const std::string& prompt, std::size_t prompts) {
  return prompts == 1 && !file.exists("/prompts") ? std::string() : "/prompts/" + prompt;
}

class ScoresFile final : public sim::ImportedScores {
 public:
  ScoresFile(const fs::path& path, const trace::Source& trace)
      : file_(trace::hdf5::File::open(path)), prompts_(trace.prompts().size()) {
    std::optional<Granularity> first;
    for (const trace::PromptInfo& prompt : trace.prompts()) {
      for (const Index layer : prompt.layers) {
        const std::string object = object_of(prompt.id, layer);
        if (!file_.exists(object)) {
          throw PolicyError("{}: has no {} [heads, {}]", path.string(), object, prompt.prompt_length);
        }
        const auto shape = file_.dataset(object).shape;
        if (shape.size() != 2 || shape[1] != static_cast<std::uint64_t>(prompt.prompt_length)) {
          throw PolicyError("{}: {} must be [heads, {}]", path.string(), object, prompt.prompt_length);
        }
        const Granularity own = granularity_of(path, object, shape[0], trace.model());
        if (first.value_or(own) != own) {
          throw PolicyError("{}: {} is per {}, others are per {}", path.string(), object, granularity_words(own),
                            granularity_words(*first));
        }
        first = own;
      }
    }
    granularity_ = first.value_or(Granularity::kKvHead);
  }

  Granularity granularity() const override { return granularity_; }
  std::string name() const override { return file_.path().string(); }

  RowMatrix scores(const std::string& prompt, const trace::LayerShape& shape) const override {
    const std::string object = object_of(prompt, shape.layer);
    const std::vector<double> values = file_.read<double>(object);
    const Index sets = sim::set_count(granularity_, shape);
    if (static_cast<Index>(values.size()) != sets * shape.prompt_length) {
      throw PolicyError("{}: {} must be [{}, {}]", file_.path().string(), object, sets, shape.prompt_length);
    }
    return Eigen::Map<const Eigen::RowVectorXd>(values.data(), static_cast<Index>(values.size()))
        .cast<float>()
        .reshaped<Eigen::RowMajor>(sets, shape.prompt_length);
  }

 private:
  std::string object_of(const std::string& prompt, Index layer) const {
    return fmt::format("{}/layers/{}/scores", group_of(file_, prompt, prompts_), layer);
  }

  trace::hdf5::File file_;
  std::size_t prompts_;
  Granularity granularity_ = Granularity::kKvHead;
};

using LayerBudgets = std::vector<std::vector<Index>>;  // [L][one, or one per kept set]

class BudgetTable final : public sim::ImportedBudgets {
 public:
  explicit BudgetTable(fs::path path) : path_(std::move(path)) {}
  LayerBudgets all;
  std::map<std::string, LayerBudgets> by_prompt;

  std::vector<Index> positions(const std::string& prompt, const trace::LayerShape& shape) const override {
    const auto own = by_prompt.find(prompt);
    const LayerBudgets& layers = own != by_prompt.end() ? own->second : all;
    if (layers.empty()) throw PolicyError("{}: has no budgets for prompt '{}'", path_.string(), prompt);
    if (static_cast<Index>(layers.size()) != shape.layers) {
      throw PolicyError("{}: has budgets for {} layers; the model has {}", path_.string(), layers.size(), shape.layers);
    }
    return layers[static_cast<std::size_t>(shape.layer)];
  }

 private:
  fs::path path_;
};

Index checked_budget(const fs::path& path, std::int64_t value) {
  if (value >= 0 && value <= trace::kMaxPositions) return value;
  throw PolicyError("{}: a budget is a number of positions in 0..{}, got {}", path.string(), trace::kMaxPositions,
                    value);
}

/// A list with a number, or a list of numbers per kept set, for each layer.
LayerBudgets json_budgets(const core::JsonNode& layers) {
  const auto positions = [](const core::JsonNode& value) { return value.integer(0, trace::kMaxPositions); };
  LayerBudgets budgets;
  for (const core::JsonNode& layer : layers.items()) {
    budgets.emplace_back();
    if (layer.is_array()) {
      for (const core::JsonNode& value : layer.items()) budgets.back().push_back(positions(value));
      if (budgets.back().empty()) layer.fail("is empty, expected a number per kept set");
    } else {
      budgets.back().push_back(positions(layer));
    }
  }
  if (budgets.empty()) layers.fail("is empty, expected one entry per layer");
  return budgets;
}

std::shared_ptr<const sim::ImportedBudgets> budgets_from_json(const fs::path& path) {
  const auto document = core::JsonDocument::read<PolicyError>(path);
  const core::JsonNode root = document.root();
  const auto format = root.find("format");
  if (!format || format->string() != "evictlab-budgets") root.fail("must say \"format\": \"evictlab-budgets\"");
  auto table = std::make_shared<BudgetTable>(path);
  if (const auto layers = root.find("layers")) table->all = json_budgets(*layers);
  if (const auto prompts = root.find("prompts")) {
    for (const auto& [id, prompt] : prompts->members()) table->by_prompt[id] = json_budgets(prompt.at("layers"));
  }
  if (table->all.empty() && table->by_prompt.empty()) root.fail("has neither \"layers\" nor \"prompts\"");
  return table;
}

LayerBudgets hdf5_budgets(const trace::hdf5::File& file, const std::string& object) {
  const auto shape = file.dataset(object).shape;
  if (shape.empty() || shape.size() > 2 || shape[0] == 0) {
    throw PolicyError("{}: {} must be [layers] or [layers, kept sets]", file.path().string(), object);
  }
  const std::vector<std::int64_t> values = file.read<std::int64_t>(object);
  const std::size_t sets = shape.size() == 2 ? shape[1] : 1;
  LayerBudgets budgets(shape[0]);
  for (std::size_t i = 0; i < values.size(); ++i) budgets[i / sets].push_back(checked_budget(file.path(), values[i]));
  return budgets;
}

std::shared_ptr<const sim::ImportedBudgets> budgets_from_hdf5(const fs::path& path, const trace::Source& trace) {
  const auto file = trace::hdf5::File::open(path);
  auto table = std::make_shared<BudgetTable>(path);
  if (file.exists("/budgets")) table->all = hdf5_budgets(file, "/budgets");
  for (const trace::PromptInfo& prompt : trace.prompts()) {
    const std::string object = "/prompts/" + prompt.id + "/budgets";
    if (file.exists(object)) table->by_prompt[prompt.id] = hdf5_budgets(file, object);
  }
  if (table->all.empty() && table->by_prompt.empty()) {
    throw PolicyError("{}: has neither /budgets [layers, kept sets] nor /prompts/<id>/budgets", path.string());
  }
  return table;
}

// What one policy at one budget kept of each prompt, as scores (1 kept, 0 not) and budgets (how many).
class KeptSets final : public sim::ImportedScores, public sim::ImportedBudgets {
 public:
  KeptSets(std::shared_ptr<const trace::RetentionReader> file, std::string name, Granularity granularity)
      : file_(std::move(file)), name_(std::move(name)), granularity_(granularity) {}
  void add(const std::string& prompt, std::size_t run) { runs_[prompt] = run; }
  bool has(const std::string& prompt) const { return runs_.contains(prompt); }

  Granularity granularity() const override { return granularity_; }
  std::string name() const override { return name_; }
  RowMatrix scores(const std::string& prompt, const trace::LayerShape& shape) const override {
    RowMatrix scores = RowMatrix::Zero(sim::set_count(granularity_, shape), shape.prompt_length);
    const trace::KeptLayer kept = layer(prompt, shape);
    for (Index set = 0; set < scores.rows(); ++set) {
      for (const std::int32_t position : kept_of(kept, set)) scores(set, position) = 1.0F;
    }
    return scores;
  }
  std::vector<Index> positions(const std::string& prompt, const trace::LayerShape& shape) const override {
    const RowMatrix marks = scores(prompt, shape);
    std::vector<Index> counts;
    for (Index set = 0; set < marks.rows(); ++set) counts.push_back(static_cast<Index>(marks.row(set).sum()));
    return counts;
  }

 private:
  static std::span<const std::int32_t> kept_of(const trace::KeptLayer& kept, Index set) {
    const auto begin = static_cast<std::size_t>(kept.offsets[static_cast<std::size_t>(set)]);
    const auto end = static_cast<std::size_t>(kept.offsets[static_cast<std::size_t>(set) + 1]);
    return std::span(kept.positions).subspan(begin, end - begin);
  }

  trace::KeptLayer layer(const std::string& prompt, const trace::LayerShape& shape) const {
    const std::size_t run = runs_.at(prompt);
    trace::KeptLayer kept = file_->layer(run, shape.layer);
    const Index sets = sim::set_count(granularity_, shape);
    if (static_cast<Index>(kept.offsets.size()) != sets + 1) {
      throw PolicyError("{}: /{}/{} is for {} kept sets; the model has {}", file_->path().string(), run, shape.layer,
                        kept.offsets.size() - 1, sets);
    }
    for (const std::int32_t position : kept.positions) {
      if (position >= shape.first_visible() && position < shape.prompt_length) continue;
      throw PolicyError("{}: /{}/{} keeps position {}, which is not in {}..{}", file_->path().string(), run,
                        shape.layer, position, shape.first_visible(), shape.prompt_length - 1);
    }
    return kept;
  }

  std::shared_ptr<const trace::RetentionReader> file_;
  std::string name_;
  Granularity granularity_;
  std::map<std::string, std::size_t> runs_;
};

Granularity named_granularity(const trace::RetentionReader& file, const std::string& name) {
  for (const Granularity granularity : {Granularity::kQueryHead, Granularity::kKvHead, Granularity::kLayer}) {
    if (sim::granularity_name(granularity) == name) return granularity;
  }
  throw PolicyError("{}: granularity must be query, kv or layer, got '{}'", file.path().string(), name);
}

}  // namespace

std::shared_ptr<const sim::ImportedScores> read_scores(const fs::path& path, const trace::Source& trace) {
  return std::make_shared<ScoresFile>(path, trace);
}

std::shared_ptr<const sim::ImportedBudgets> read_budgets(const fs::path& path, const trace::Source& trace) {
  return path.extension() == ".json" ? budgets_from_json(path) : budgets_from_hdf5(path, trace);
}

std::vector<KeptRun> read_kept(const fs::path& path, const trace::Source& trace) {
  const auto file = std::make_shared<const trace::RetentionReader>(path);
  std::vector<KeptRun> runs;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<KeptSets>> known;
  for (std::size_t i = 0; i < file->runs().size(); ++i) {
    const trace::RetentionReader::Run& run = file->runs()[i];
    auto& sets = known[{run.policy, run.budget}];
    if (!sets) {
      sets =
          std::make_shared<KeptSets>(file, run.policy + " at " + run.budget, named_granularity(*file, run.granularity));
      sim::Policy policy;
      policy.name = "kept";
      policy.parameters = policy.changes = run.policy;
      policy.scorer = sim::make_imported_scorer(sets);
      policy.allocator = sim::make_imported_allocator(sets);
      policy.selector = sim::make_selector({"top"});
      policy.granularity = sets->granularity();
      runs.push_back({std::move(policy), run.budget});
    }
    sets->add(run.prompt, i);
  }
  for (const auto& [key, sets] : known) {
    for (const trace::PromptInfo& prompt : trace.prompts()) {
      if (sets->has(prompt.id)) continue;
      throw PolicyError("{}: {} at budget {} has no kept positions of prompt '{}'", path.string(), key.first,
                        key.second, prompt.id);
    }
  }
  return runs;
}

}  // namespace evictlab::lab
