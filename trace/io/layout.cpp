#include "trace/io/layout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/hash.hpp"
#include "core/text.hpp"
#include "core/version.hpp"
#include "trace/io/hdf5/ranges.hpp"

namespace evictlab::trace::layout {

// ---- names ----------------------------------------------------------------------------------------

namespace {

bool is_plain(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

constexpr std::size_t kLongestPartName = 240;  // file systems allow 255, and ".tmp" is added

}  // namespace

std::string part_name(std::string_view id) {
  std::string name;
  for (std::size_t i = 0; i < id.size(); ++i) {
    const bool first_of_taken_name = i == 0 && (id[0] == '.' || id == "model");
    if (is_plain(id[i]) && !first_of_taken_name) {
      name += id[i];
    } else {
      name += fmt::format("%{:02X}", static_cast<unsigned char>(id[i]));
    }
  }
  return name + ".h5";
}

std::string id_problem(std::string_view id) {
  if (id.empty()) return "a prompt's id is empty";
  if (id == "." || id == "..") return fmt::format("a prompt's id cannot be '{}'", id);
  if (id.find('/') != id.npos) return fmt::format("the prompt id '{}' contains '/'", id);
  if (std::ranges::any_of(id, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; })) {
    return "a prompt's id contains a control character";
  }
  if (part_name(id).size() > kLongestPartName) {
    return fmt::format("the prompt id '{}...' is too long for a file name", id.substr(0, 20));
  }
  return "";
}

std::string prompt_path(const std::string& id) { return "/prompts/" + id; }

std::string layer_path(const std::string& id, Index layer) { return fmt::format("/prompts/{}/layers/{}", id, layer); }

std::string field_path(const std::string& id, Index layer, Field field) {
  return fmt::format("{}/{}", layer_path(id, layer), field_name(field));
}

std::string output_weight_path(Index layer) { return fmt::format("/model/output_weight/{}", layer); }

void write_dataset(hdf5::File& file, const std::string& object, hdf5::Type type, std::span<const std::uint64_t> shape,
                   std::span<const std::byte> elements, std::string_view axes, std::string_view unit) {
  file.write(object, type, shape, elements);
  describe_dataset(file, object, elements, axes, unit);
}

void describe_dataset(hdf5::File& file, const std::string& object, std::span<const std::byte> elements,
                      std::string_view axes, std::string_view unit) {
  file.set_text(object, "axes", axes);
  file.set_text(object, "unit", unit);
  file.set_text(object, "hash", core::content_hash(elements));
}

void require_hash(const hdf5::File& file, const std::string& object, const std::string& hash) {
  if (file.text(object, "hash") == hash) return;
  fail(file, object, "damaged: its bytes do not have the recorded hash (see evictlab verify)");
}

// ---- root and model -------------------------------------------------------------------------------

void write_root(hdf5::File& file, const std::string& command, const ModelInfo& model, const Settings& settings) {
  file.set_text("/", "format", kFormat);
  file.set_integer("/", "format_version", kFormatVersion);
  file.set_text("/", "writer", std::string("evictlab ") + core::version());
  file.set_text("/", "command", command);
  if (!settings.empty()) file.set_text("/", "settings", settings_text(settings));
  file.set_text("/", "model", model.name);
  file.set_text("/", "architecture", model.architecture);
  file.set_integer("/", "layers", model.layers);
  file.set_integer("/", "query_heads", model.query_heads);
  file.set_integer("/", "kv_heads", model.kv_heads);
  file.set_integer("/", "head_dim", model.head_dim);
  file.set_integer("/", "hidden_size", model.hidden_size);
  file.set_number("/", "attention_scale", model.attention_scale);
  const std::vector<std::int64_t> windows(model.sliding_windows.begin(), model.sliding_windows.end());
  file.set_integers("/", "sliding_windows", windows);
  file.set_text("/", "position_encoding", model.position_encoding);
  file.set_text("/", "fingerprint", model.fingerprint);
  file.set_integer("/", "cache_element_bytes", model.cache_element_bytes);
}

Provenance read_root(const hdf5::File& file) {
  const std::string where = file.path().string();
  if (!file.has_attribute("/", "format")) {
    throw TraceError("{}: not a trace: the root has no attribute format = \"{}\"", where, kFormat);
  }
  if (const std::string format = file.text("/", "format"); format != kFormat) {
    throw TraceError("{}: not a trace: format is \"{}\", expected \"{}\"", where, format, kFormat);
  }
  const std::int64_t version = file.integer("/", "format_version");
  if (version < kOldestFormatVersion || version > kFormatVersion) {
    throw TraceError("{}: trace format version {}, but this program reads versions {} to {}", where, version,
                     kOldestFormatVersion, kFormatVersion);
  }
  Provenance provenance{static_cast<int>(version), file.text("/", "writer"), file.text("/", "command"), {}};
  if (file.has_attribute("/", "settings")) provenance.settings = parse_settings(file.text("/", "settings"), where);
  return provenance;
}

namespace {

void check_range(const std::string& where, std::string_view what, Index value, Index least, Index most) {
  if (value < least || value > most) {
    throw TraceError("{}: {} is {}, must be {} to {}", where, what, value, least, most);
  }
}

}  // namespace

void check_model(const ModelInfo& model, const std::string& where) {
  check_range(where, "layers", model.layers, 1, 4096);
  check_range(where, "query_heads", model.query_heads, 1, 65536);
  check_range(where, "kv_heads", model.kv_heads, 1, model.query_heads);
  check_range(where, "head_dim", model.head_dim, 1, 65536);
  check_range(where, "hidden_size", model.hidden_size, 1, Index{1} << 24U);
  check_range(where, "cache_element_bytes", model.cache_element_bytes, 1, 16);
  if (model.query_heads % model.kv_heads != 0) {
    throw TraceError("{}: {} query heads cannot share {} kv heads evenly", where, model.query_heads, model.kv_heads);
  }
  if (static_cast<Index>(model.sliding_windows.size()) != model.layers) {
    throw TraceError("{}: {} sliding windows for {} layers", where, model.sliding_windows.size(), model.layers);
  }
  for (const Index window : model.sliding_windows) check_range(where, "a sliding window", window, 0, kMaxPositions - 1);
  if (!std::isfinite(model.attention_scale) || model.attention_scale <= 0) {
    throw TraceError("{}: attention_scale is {}, must be positive", where, model.attention_scale);
  }
}

ModelInfo read_model(const hdf5::File& file) {
  ModelInfo model;
  model.name = file.text("/", "model");
  model.architecture = file.text("/", "architecture");
  model.layers = file.integer("/", "layers");
  model.query_heads = file.integer("/", "query_heads");
  model.kv_heads = file.integer("/", "kv_heads");
  model.head_dim = file.integer("/", "head_dim");
  model.hidden_size = file.integer("/", "hidden_size");
  model.attention_scale = file.number("/", "attention_scale");
  const std::vector<std::int64_t> windows = file.integers("/", "sliding_windows");
  model.sliding_windows.assign(windows.begin(), windows.end());
  model.position_encoding = file.text("/", "position_encoding");
  model.fingerprint = file.text("/", "fingerprint");
  model.cache_element_bytes = file.integer("/", "cache_element_bytes");
  check_model(model, file.path().string());
  return model;
}

std::string model_difference(const ModelInfo& have, const ModelInfo& given) {
  const auto differ = [](std::string_view what, const auto& a, const auto& b) {
    return a == b ? std::string() : fmt::format("{} {} there, {} here", what, a, b);
  };
  // The name is left out: a model may be moved.
  for (const std::string& difference :
       {differ("architecture", have.architecture, given.architecture), differ("layers", have.layers, given.layers),
        differ("query heads", have.query_heads, given.query_heads), differ("kv heads", have.kv_heads, given.kv_heads),
        differ("head dimension", have.head_dim, given.head_dim),
        differ("hidden size", have.hidden_size, given.hidden_size),
        differ("attention scale", have.attention_scale, given.attention_scale),
        differ("position encoding", have.position_encoding, given.position_encoding),
        differ("fingerprint", have.fingerprint, given.fingerprint),
        differ("bytes of a cache element", have.cache_element_bytes, given.cache_element_bytes)}) {
    if (!difference.empty()) return difference;
  }
  return have.sliding_windows == given.sliding_windows ? "" : "other sliding windows";
}

// ---- prompts --------------------------------------------------------------------------------------

namespace {

std::string fields_text(Fields fields) {
  std::string text;
  for (const Field field : kAllFields) {
    if (fields.contains(field)) text += fmt::format("{}{}", text.empty() ? "" : " ", field_name(field));
  }
  return text;
}

// Of those that the attribute may name.
Fields parse_fields(std::string_view attribute, const std::string& text, Fields allowed, const std::string& where) {
  Fields fields;
  for (const std::string& name : core::split(text, ' ')) {
    const auto* const named = std::ranges::find(kAllFields, name, field_name);
    if (named == std::end(kAllFields) || !allowed.contains(*named)) {
      throw TraceError("{}: {} is '{}', may name {}", where, attribute, text, fields_text(allowed));
    }
    fields |= *named;
  }
  return fields;
}

}  // namespace

void check_prompt(const PromptInfo& prompt, const ModelInfo& model, const std::string& where) {
  check_range(where, "prompt_length", prompt.prompt_length, 1, kMaxPositions - 1);
  check_range(where, "future_length", prompt.future_length, 1, kMaxPositions - 1 - prompt.prompt_length);
  check_range(where, "window", prompt.window, 1, prompt.prompt_length);
  if (prompt.layers.empty()) throw TraceError("{}: no layers", where);
  const bool full = prompt.tier == Tier::kFull;
  check_range(where, "gradient_draws", prompt.gradient_draws, 0, full ? kMaxGradientDraws : 0);
  const Fields dispensable = full ? kOptionalFields.without(kNeededInFullTier) : kOptionalFields;
  if (!dispensable.contains(prompt.missing)) {
    throw TraceError("{}: of the {} tier only {} may be missing", where, tier_name(prompt.tier),
                     fields_text(dispensable));
  }
  if (!kExtraFields.contains(prompt.extra)) {
    throw TraceError("{}: beyond the tier only {} may be recorded", where, fields_text(kExtraFields));
  }
  Index previous = -1;
  for (const Index layer : prompt.layers) {
    if (layer <= previous || layer >= model.layers) {
      throw TraceError("{}: layers must be ascending numbers below {}, got {} after {}", where, model.layers, layer,
                       previous);
    }
    previous = layer;
  }
  const Index positions = prompt.prompt_length + prompt.future_length;
  for (const Span& span : prompt.spans) {
    if (span.begin < 0 || span.begin > span.end || span.end > positions) {
      throw TraceError("{}: span '{}' [{}, {}) is not inside the {} positions", where, span.name, span.begin, span.end,
                       positions);
    }
  }
}

void write_missing(hdf5::File& file, const PromptInfo& prompt) {
  if (prompt.missing.empty()) return;
  file.set_text(prompt_path(prompt.id), "missing", fields_text(prompt.missing));
}

void write_prompt(hdf5::File& file, const PromptInfo& prompt, Index index) {
  const std::string group = prompt_path(prompt.id);
  file.create_group(group);
  file.set_text(group, "id", prompt.id);
  file.set_integer(group, "index", index);
  file.set_text(group, "task", prompt.task);
  file.set_text(group, "source", prompt.source);
  file.set_integer(group, "prompt_length", prompt.prompt_length);
  file.set_integer(group, "future_length", prompt.future_length);
  file.set_text(group, "future_kind", prompt.future_kind);
  file.set_text(group, "tier", tier_name(prompt.tier));
  file.set_integer(group, "window", prompt.window);
  write_missing(file, prompt);
  if (!prompt.extra.empty()) file.set_text(group, "extra", fields_text(prompt.extra));
  if (!prompt.document.empty()) file.set_text(group, "document", prompt.document);
  if (prompt.gradient_draws > 0) file.set_integer(group, "gradient_draws", prompt.gradient_draws);
  const std::vector<std::int64_t> layers(prompt.layers.begin(), prompt.layers.end());
  file.set_integers(group, "layers", layers);
  file.set_integer(group, "complete", 0);
}

PromptInfo read_prompt(const hdf5::File& file, const std::string& id, const ModelInfo& model, int format_version) {
  const std::string group = prompt_path(id);
  const std::string where = file.path().string() + ": " + group;
  PromptInfo prompt;
  prompt.id = file.text(group, "id");
  if (prompt.id != id) throw TraceError("{}: its attribute id says '{}'", where, prompt.id);
  prompt.task = file.text(group, "task");
  prompt.source = file.text(group, "source");
  prompt.prompt_length = file.integer(group, "prompt_length");
  prompt.future_length = file.integer(group, "future_length");
  prompt.future_kind = file.text(group, "future_kind");
  const std::string tier = file.text(group, "tier");
  if (tier != "summary" && tier != "full") throw TraceError("{}: tier is '{}', must be summary or full", where, tier);
  prompt.tier = tier == "full" ? Tier::kFull : Tier::kSummary;
  prompt.window = file.integer(group, "window");
  if (file.has_attribute(group, "document")) prompt.document = file.text(group, "document");
  if (file.has_attribute(group, "gradient_draws")) prompt.gradient_draws = file.integer(group, "gradient_draws");
  // Only what a prompt can lack: all else is what makes the tier.
  if (file.has_attribute(group, "missing")) {
    prompt.missing = parse_fields("missing", file.text(group, "missing"), kOptionalFields, where);
  }
  if (file.has_attribute(group, "extra")) {
    prompt.extra = parse_fields("extra", file.text(group, "extra"), kExtraFields, where);
  }
  if (format_version < kFirstVersionWithResidualNorms && prompt.tier == Tier::kFull) {
    prompt.missing |= Field::kResidualNorms;
  }
  const std::vector<std::int64_t> layers = file.integers(group, "layers");
  prompt.layers.assign(layers.begin(), layers.end());
  hdf5::StoredRanges spans = hdf5::read_ranges(file, group + "/spans");
  require_hash(file, group + "/spans", core::content_hash(spans.bytes));
  for (hdf5::NamedRange& range : spans.ranges) {
    prompt.spans.push_back({std::move(range.name), range.begin, range.end});
  }
  check_prompt(prompt, model, where);
  return prompt;
}

}  // namespace evictlab::trace::layout
