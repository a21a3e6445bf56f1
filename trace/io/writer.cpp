#include "trace/io/writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <system_error>
#include <tuple>

#include "core/file.hpp"
#include "core/hash.hpp"
#include "trace/io/digest.hpp"
#include "trace/io/layout.hpp"
#include "trace/io/parts_directory.hpp"
#include "trace/io/prompt_writer.hpp"
#include "trace/io/trace_file.hpp"
#include "trace/values.hpp"

namespace evictlab::trace {

namespace fs = std::filesystem;

// ---- the place ------------------------------------------------------------------------------------

namespace {

void require_free(const WriterOptions& options) {
  const std::string path = options.path.string();
  if (fs::is_directory(options.path) || !options.path.has_filename()) {
    throw TraceError("{}: is a directory; give the name of a file", path);
  }
  if (!fs::exists(options.path)) return;
  if (!fs::is_regular_file(options.path)) throw TraceError("{}: is not a regular file", path);
  if (options.force) return;  // replaced when the new trace is complete
  if (!options.append) {
    throw TraceError("{}: exists already; {}replace it (--force)", path,
                     options.can_append ? "append to it (--append) or " : "");
  }
  if (options.keep_parts) throw TraceError("{}: parts cannot be kept when appending to a merged trace", path);
}

}  // namespace

TracePlace::TracePlace(WriterOptions options)
    : options_(std::move(options)),
      parts_(parts_directory(options_.path)),
      directories_(std::make_unique<core::MadeDirectories>()),
      lock_(std::make_unique<core::DirectoryLock>()) {
  directories_->make(options_.path.parent_path());  // through which the path may lead: "new/../trace.h5"
  require_free(options_);
  fresh_ = !fs::exists(parts_);
  directories_->make(parts_);
  if (!lock_->try_lock(parts_)) throw TraceError("{}: another recording is writing there", parts_.string());
}

struct TraceWriter::Impl {
  Impl(TracePlace the_place, ModelInfo the_model, Settings the_settings);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  bool contains_alike(const PromptInfo& info, std::span<const std::int32_t> tokens);
  void write_output_weight(Index layer, const RowMatrix& weight);
  std::unique_ptr<PromptWriter::Impl> begin_prompt(PromptInfo info, std::vector<std::int32_t> tokens);
  fs::path finish();

  TracePlace place;
  const WriterOptions& options = place.options_;
  ModelInfo model;
  Settings settings;
  const fs::path& parts = place.parts_;
  std::unique_ptr<TraceFile> base;       // the trace appended to
  std::optional<hdf5::File> model_part;  // model.h5.tmp while it is being changed
  WrittenPrompts written;
  std::set<std::string> wanted;  // ids of this recording's prompts
  Index next_index = 0;
  bool finished = false;

 private:
  fs::path model_path() const { return parts / kModelPart; }
  fs::path temporary_model_path() const { return model_path().string() + ".tmp"; }
  void open_base();
  void take_up_parts();
  void take_up(const fs::path& part);
  void drop_parts_of_others();
  void drop(const std::string& id);
  bool is_alike(const TraceFile& file) const;
  void require_alike(const TraceFile& file) const;
  void open_model_part();
  void commit_model_part();
  void merge(const fs::path& target) const;
};

// ---- beginning ------------------------------------------------------------------------------------

TraceWriter::Impl::Impl(TracePlace the_place, ModelInfo the_model, Settings the_settings)
    : place(std::move(the_place)), model(std::move(the_model)), settings(std::move(the_settings)) {
  layout::check_model(model, "the model");
  if (options.append && fs::exists(options.path)) open_base();
  try {
    take_up_parts();
  } catch (...) {
    if (place.fresh_) remove_parts(parts);
    throw;
  }
}

void TraceWriter::Impl::open_base() {
  base = std::make_unique<TraceFile>(options.path);
  require_alike(*base);
  for (const TraceFile::Entry& prompt : base->prompts()) {
    written.by_id[prompt.info.id] = {prompt.info, base->tokens(prompt.info)};
    next_index = std::max(next_index, prompt.index + 1);
  }
}

void TraceWriter::Impl::take_up_parts() {
  remove_unfinished(parts);
  if (options.force) drop_parts_of_others();
  // Of a recording that was killed before its first prompt was finished.
  if (list_parts(parts).empty()) fs::remove(model_path());
  for (const fs::path& part : list_parts(parts)) take_up(part);
  if (fs::exists(model_path())) {
    require_alike(TraceFile(model_path()));
  } else {
    open_model_part();
    commit_model_part();
  }
}

void TraceWriter::Impl::take_up(const fs::path& part) {
  const TraceFile file(part);
  require_alike(file);
  for (const TraceFile::Entry& prompt : file.prompts()) {
    if (written.by_id.contains(prompt.info.id)) continue;  // merged before the recording was killed
    written.by_id[prompt.info.id] = {prompt.info, file.tokens(prompt.info), part};
    next_index = std::max(next_index, prompt.index + 1);
  }
}

/// What a part holds is replaced unless it is certain to be what would be recorded again.
void TraceWriter::Impl::drop_parts_of_others() {
  const auto drop_unless_alike = [&](const fs::path& part) {
    try {
      if (is_alike(TraceFile(part))) return;
    } catch (const TraceError&) {  // not a trace, or damaged
    }
    fs::remove(part);
  };
  for (const fs::path& part : list_parts(parts)) drop_unless_alike(part);
  if (fs::exists(model_path())) drop_unless_alike(model_path());
}

bool TraceWriter::Impl::is_alike(const TraceFile& file) const {
  return !settings.empty() && file.provenance().settings == settings &&
         layout::model_difference(file.model(), model).empty();
}

void TraceWriter::Impl::require_alike(const TraceFile& file) const {
  const std::string path = file.file().path().string();
  if (const std::string difference = layout::model_difference(file.model(), model); !difference.empty()) {
    throw TraceError("{}: holds prompts of another model ({}); replace it with --force or choose another name", path,
                     difference);
  }
  if (const std::string difference = settings_difference(file.provenance().settings, settings); !difference.empty()) {
    throw TraceError(
        "{}: holds prompts recorded with other settings ({}); record with the same, replace it with --force or choose "
        "another name",
        path, difference);
  }
}

TraceWriter::Impl::~Impl() {
  if (finished) return;
  std::error_code ignored;
  model_part.reset();
  fs::remove(temporary_model_path(), ignored);
  // Nothing was recorded: nothing stays behind.
  try {
    if (list_parts(parts).empty()) remove_parts(parts);
  } catch (const fs::filesystem_error&) {
  }
}

// ---- the model's part -----------------------------------------------------------------------------

void TraceWriter::Impl::open_model_part() {
  if (model_part) return;
  if (fs::exists(model_path())) {
    const TraceFile sound(model_path());  // or what is damaged would get a digest
    fs::copy_file(model_path(), temporary_model_path(), fs::copy_options::overwrite_existing);
    model_part = hdf5::File::open_for_change(temporary_model_path());
    model_part->set_integer("/", "format_version", layout::kFormatVersion);
    return;
  }
  model_part = hdf5::File::create(temporary_model_path());
  layout::write_root(*model_part, options.command, model, settings);
}

void TraceWriter::Impl::commit_model_part() {
  if (!model_part) return;
  seal_groups(*model_part, "/");
  model_part->close();
  model_part.reset();
  core::sync_path(temporary_model_path());
  core::rename_durably(temporary_model_path(), model_path());
}

void TraceWriter::Impl::write_output_weight(Index layer, const RowMatrix& weight) {
  const Index rows = model.query_heads * model.head_dim;
  if (layer < 0 || layer >= model.layers) throw TraceError("output weight of layer {}: no such layer", layer);
  if (weight.rows() != rows || weight.cols() != model.hidden_size) {
    throw TraceError("output weight of layer {}: shape [{}, {}], expected [{}, {}]", layer, weight.rows(),
                     weight.cols(), rows, model.hidden_size);
  }
  if (const std::string problem = output_weight_problem(weight); !problem.empty()) {
    throw TraceError("output weight of layer {}: {}", layer, problem);
  }
  const auto bytes = std::as_bytes(std::span(weight.data(), static_cast<std::size_t>(weight.size())));
  const std::string object = layout::output_weight_path(layer);
  const auto already_in = [&](const hdf5::File& file) {
    if (!file.exists(object)) return false;
    if (file.text(object, "hash") == core::content_hash(bytes)) return true;
    throw TraceError("{}: {}: differs from the model's", file.path().string(), object);
  };
  if (base && already_in(base->file())) return;
  if (!model_part && already_in(hdf5::File::open(model_path()))) return;
  open_model_part();
  if (already_in(*model_part)) return;
  const std::uint64_t shape[] = {static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(model.hidden_size)};
  layout::write_dataset(*model_part, object, hdf5::Type::kFloat32, shape, bytes, "query_head * head_dimension, hidden",
                        "weight");
}

// ---- prompts --------------------------------------------------------------------------------------

std::unique_ptr<PromptWriter::Impl> TraceWriter::Impl::begin_prompt(PromptInfo info, std::vector<std::int32_t> tokens) {
  if (written.writing || finished) throw std::logic_error("one prompt is written at a time, before finish()");
  if (const std::string problem = layout::id_problem(info.id); !problem.empty()) throw TraceError("{}", problem);
  const std::string where = fmt::format("prompt '{}'", info.id);
  if (const auto found = written.by_id.find(info.id); found != written.by_id.end()) {
    if (!options.force || wanted.contains(info.id)) throw TraceError("{}: recorded already", where);
    drop(info.id);
  }
  PromptInfo whole = info;
  if (info.future_length == 0) {  // yet to be told: what depends on it is checked at the end
    whole.future_length = 1;
    whole.spans.clear();
  }
  layout::check_prompt(whole, model, where);
  const Index positions = info.prompt_length + info.future_length;
  if (static_cast<Index>(tokens.size()) != positions) {
    throw TraceError("{}: {} tokens for {} positions", where, tokens.size(), positions);
  }
  if (std::ranges::any_of(tokens, [](std::int32_t token) { return token < 0; })) {
    throw TraceError("{}: a token id is negative", where);
  }
  commit_model_part();
  wanted.insert(info.id);
  const fs::path part = parts / layout::part_name(info.id);
  return std::make_unique<PromptWriter::Impl>(part, options.command, settings, model, std::move(info),
                                              std::move(tokens), next_index++, written);
}

void TraceWriter::Impl::drop(const std::string& id) {
  const auto found = written.by_id.find(id);
  fs::remove(found->second.part);
  written.by_id.erase(found);
}

namespace {

/// How a prompt differs from one that is there; empty when it does not.
std::string recorded_otherwise(const WrittenPrompts::Entry& entry, const PromptInfo& info,
                               std::span<const std::int32_t> tokens) {
  const PromptInfo& there = entry.info;
  if (there.tier != info.tier) return fmt::format("{} tier", tier_name(there.tier));
  if (there.missing != info.missing || there.extra != info.extra) return "other fields";
  if (there.gradient_draws != info.gradient_draws) return fmt::format("{} draws of gradients", there.gradient_draws);
  if (there.window != info.window) return fmt::format("window {}", there.window);
  if (there.layers != info.layers) return "other layers";
  if (there.future_kind != info.future_kind) return fmt::format("its future is {}", there.future_kind);
  const bool told = info.future_length > 0;  // else the future is yet to be generated
  if (there.prompt_length != info.prompt_length || entry.tokens.size() < tokens.size() ||
      (told && entry.tokens.size() > tokens.size()) ||
      !std::equal(tokens.begin(), tokens.end(), entry.tokens.begin())) {
    return "other tokens";
  }
  return {};
}

}  // namespace

bool TraceWriter::Impl::contains_alike(const PromptInfo& info, std::span<const std::int32_t> tokens) {
  const auto found = written.by_id.find(info.id);
  if (found == written.by_id.end()) return false;
  if (const std::string difference = recorded_otherwise(found->second, info, tokens); !difference.empty()) {
    if (options.force) {
      drop(info.id);
      return false;
    }
    throw TraceError(
        "{}: prompt '{}' is there already, recorded otherwise ({}); replace it with --force or choose another name",
        options.path.string(), info.id, difference);
  }
  wanted.insert(info.id);
  return true;
}

// ---- merging --------------------------------------------------------------------------------------

fs::path TraceWriter::Impl::finish() {
  if (written.writing || finished) throw std::logic_error("finish() comes once, after the last prompt");
  commit_model_part();
  if (options.force) {
    std::vector<std::string> others;
    for (const auto& [id, entry] : written.by_id) {
      if (!wanted.contains(id)) others.push_back(id);
    }
    for (const std::string& id : others) drop(id);
  }
  if (options.keep_parts) {
    finished = true;
    return parts;
  }
  const fs::path temporary = options.path.string() + ".tmp";
  try {
    merge(temporary);
    core::sync_path(temporary);
    core::rename_durably(temporary, options.path);
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw TraceError("{}; the finished prompts are in {}", error.what(), parts.string());
  }
  finished = true;
  remove_parts(parts);  // the trace is complete; parts that stay do no harm
  return options.path;
}

namespace {

/// Copies a group or dataset of a trace. Throws TraceError when a dataset does not have its hash.
void copy_sound(const hdf5::File& from, const std::string& object, hdf5::File& to) {
  to.copy_from(from, object, object, [&from](const std::string& dataset, std::span<const std::byte> elements) {
    // Datasets that are not ours may have none.
    if (from.has_attribute(dataset, "hash")) layout::require_hash(from, dataset, core::content_hash(elements));
  });
}

}  // namespace

void TraceWriter::Impl::merge(const fs::path& target) const {
  hdf5::File merged = hdf5::File::create(target);
  // Only what holds for all prompts.
  layout::write_root(merged, options.command, model,
                     base ? common_settings(base->provenance().settings, settings) : settings);
  const TraceFile model_file(model_path());
  for (Index layer = 0; layer < model.layers; ++layer) {
    const std::string object = layout::output_weight_path(layer);
    if (model_file.has_output_weight(layer)) {
      copy_sound(model_file.file(), object, merged);
    } else if (base && base->has_output_weight(layer)) {
      copy_sound(base->file(), object, merged);
    }
  }

  // The trace appended to first, then the parts in the order in which they were begun: the result does
  // not depend on the order of a directory, nor on how often the recording was stopped and taken up.
  merged.create_group("/prompts");
  Index index = 0;
  const auto copy = [&merged, &index](const TraceFile& file, const PromptInfo& prompt) {
    const std::string group = layout::prompt_path(prompt.id);
    file.check_all_in(group);
    copy_sound(file.file(), group, merged);
    merged.set_integer(group, "index", index++);
    layout::write_missing(merged, prompt);  // what the version that it was written in did not have
    if (file.has_digests()) {
      seal_group(merged, group);
    } else {
      seal_groups(merged, group);
    }
  };
  std::set<std::string> copied;
  if (base) {
    for (const TraceFile::Entry& prompt : base->prompts()) {
      copy(*base, prompt.info);
      copied.insert(prompt.info.id);
    }
  }
  std::vector<std::pair<TraceFile::Entry, fs::path>> order;
  for (const fs::path& part : list_parts(parts)) {
    const TraceFile file(part);
    for (const TraceFile::Entry& prompt : file.prompts()) order.emplace_back(prompt, part);
  }
  std::ranges::sort(order, {},
                    [](const auto& entry) { return std::tie(entry.first.index, entry.first.info.id, entry.second); });
  for (const auto& [prompt, part] : order) {
    if (copied.insert(prompt.info.id).second) copy(TraceFile(part), prompt.info);
  }
  if (merged.exists("/model")) seal_groups(merged, "/model");
  seal_group(merged, "/prompts");
  seal_group(merged, "/");
  merged.close();
}

// ---- the public face ------------------------------------------------------------------------------

TraceWriter::TraceWriter(TracePlace place, ModelInfo model, Settings settings)
    : impl_(std::make_unique<Impl>(std::move(place), std::move(model), std::move(settings))) {}
TraceWriter::TraceWriter(WriterOptions options, ModelInfo model, Settings settings)
    : TraceWriter(TracePlace(std::move(options)), std::move(model), std::move(settings)) {}
TraceWriter::~TraceWriter() = default;

const PromptInfo* TraceWriter::find(const std::string& id) const {
  const auto found = impl_->written.by_id.find(id);
  return found == impl_->written.by_id.end() ? nullptr : &found->second.info;
}

std::size_t TraceWriter::prompts() const { return impl_->written.by_id.size(); }

std::size_t TraceWriter::prompts_in_parts() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(impl_->written.by_id, [](const auto& one) { return !one.second.part.empty(); }));
}

const fs::path& TraceWriter::parts() const { return impl_->parts; }

bool TraceWriter::contains_alike(const PromptInfo& info, std::span<const std::int32_t> tokens) {
  return impl_->contains_alike(info, tokens);
}

void TraceWriter::write_output_weight(Index layer, const RowMatrix& weight) {
  impl_->write_output_weight(layer, weight);
}

PromptWriter TraceWriter::begin_prompt(PromptInfo info, std::vector<std::int32_t> tokens) {
  return PromptWriter(impl_->begin_prompt(std::move(info), std::move(tokens)));
}

void TraceWriter::write_prompt(const MemoryTrace::Prompt& prompt) {
  PromptWriter writer = begin_prompt(prompt.info, prompt.tokens);
  for (const LayerData& layer : prompt.layers) writer.write(layer);
  writer.finish();
}

fs::path TraceWriter::finish() { return impl_->finish(); }

}  // namespace evictlab::trace
