#include "runtime/checkpoint.hpp"

#include <xxhash.h>

#include <algorithm>
#include <memory>

#include "core/json.hpp"
#include "core/message.hpp"
#include "runtime/model_error.hpp"

namespace evictlab::runtime {
namespace {

/// Which shard each tensor is in, as the index says.
std::map<std::string, std::string> read_weight_map(const std::filesystem::path& path) {
  const auto index = core::JsonDocument::read<ModelError>(path);
  const core::JsonNode map = index.root().at("weight_map");
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : map.members()) {
    // A plain name: an index must not reach outside its directory.
    const std::string& name = file.string();
    if (name.empty() || std::filesystem::path(name).filename() != name) {
      file.fail("expected the name of a file in the same directory, got {}", core::quote(name));
    }
    files.emplace(tensor, name);
  }
  if (files.empty()) map.fail("is empty");
  return files;
}

/// Weights that PyTorch pickled are not read: unpickling runs whatever code the file holds.
void refuse_other_formats(const std::filesystem::path& model) {
  for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"}) {
    if (!std::filesystem::exists(model / name)) continue;
    throw ModelError(
        "{}: is a PyTorch pickle, which can run code when it is read; save the model as safetensors "
        "(save_pretrained of transformers) and give that directory",
        (model / name).string());
  }
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& model) : model_(model), configuration_("config.json") {
  const std::filesystem::path single = model / "model.safetensors";
  const std::filesystem::path index = model / "model.safetensors.index.json";
  if (core::is_gguf_path(model)) {
    open_gguf(model);
  } else if (std::filesystem::exists(single)) {
    open_single(single);
  } else if (std::filesystem::exists(index)) {
    open_shards(index);
  } else {
    refuse_other_formats(model);
    throw ModelError("{}: no model.safetensors and no model.safetensors.index.json", model.string());
  }
  if (!gguf_) add_model_prefix();
}

void Checkpoint::add_model_prefix() {
  constexpr std::string_view kPrefix = "model.";
  const auto has_prefix = [&](const auto& entry) { return entry.first.starts_with(kPrefix); };
  if (std::ranges::any_of(tensors_, has_prefix) || !contains("norm.weight")) return;
  std::map<std::string, Tensor, std::less<>> prefixed;
  for (const auto& [name, tensor] : tensors_) {
    const bool is_head = name.starts_with("lm_head.") || name.starts_with("output.");
    prefixed.emplace(is_head ? name : std::string(kPrefix) + name, tensor);
  }
  tensors_ = std::move(prefixed);
}

void Checkpoint::open_gguf(const std::filesystem::path& path) {
  configuration_ = "the metadata";
  gguf_.emplace(path);
  for (const core::GgufTensor& tensor : gguf_->tensors()) {
    tensors_.emplace(tensor.name, Tensor{core::storage_layout(tensor.type).name, tensor.shape, tensor.bytes});
  }
}

void Checkpoint::add(const core::StoredTensor& tensor) {
  tensors_.emplace(tensor.name, Tensor{tensor.dtype, tensor.shape, tensor.bytes});
}

void Checkpoint::open_single(const std::filesystem::path& path) {
  files_.emplace_back(path);
  for (const core::StoredTensor& tensor : files_.back().tensors()) add(tensor);
}

void Checkpoint::open_shards(const std::filesystem::path& index_path) {
  const std::map<std::string, std::string> shard_of = read_weight_map(index_path);
  std::set<std::string> names;
  for (const auto& [tensor, file] : shard_of) names.insert(file);
  files_.reserve(names.size());  // tensors_ points into them
  for (const std::string& name : names) {
    files_.emplace_back(model_ / name);
    for (const core::StoredTensor& tensor : files_.back().tensors()) {
      // One that is listed nowhere is an extra one, as in a single file.
      const auto listed = shard_of.find(tensor.name);
      if (listed != shard_of.end() && listed->second != name) {
        throw ModelError("{}: holds tensor '{}', which {} lists in {}", files_.back().path().string(), tensor.name,
                         index_path.filename().string(), listed->second);
      }
      add(tensor);
    }
  }
  // Indexes list output heads that are the embedding and that no shard holds: missing is what is asked for and not
  // there.
  for (const auto& [tensor, file] : shard_of) {
    if (!contains(tensor)) listed_.emplace(tensor, file);
  }
}

WeightMatrix Checkpoint::find(const std::string& name, const std::vector<std::uint64_t>& shape) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    if (const auto listed = listed_.find(name); listed != listed_.end()) {
      throw ModelError("{}: tensor '{}' is missing, though model.safetensors.index.json lists it there",
                       (model_ / listed->second).string(), name);
    }
    throw ModelError("{}: tensor '{}' is missing, expected shape {}", model_.string(), name, core::shape_text(shape));
  }
  const Tensor& tensor = found->second;
  if (!std::ranges::equal(tensor.shape, shape)) {
    throw ModelError("{}: tensor '{}' has shape {}, but {} asks for {}", model_.string(), name,
                     core::shape_text(tensor.shape), configuration_, core::shape_text(shape));
  }
  const std::optional<core::StorageType> type = core::find_storage_type(tensor.dtype);
  if (!type) {
    throw ModelError("{}: tensor '{}' has dtype {}, supported are F32, F16, BF16", model_.string(), name, tensor.dtype);
  }
  used_.insert(name);
  const std::uint64_t rows = shape.size() == 1 ? 1 : shape.front();
  return {*type, tensor.bytes, static_cast<Index>(rows), static_cast<Index>(shape.back())};
}

WeightMatrix Checkpoint::matrix(const std::string& name, Index rows, Index columns) {
  return find(name, {static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns)});
}

std::vector<float> Checkpoint::vector(const std::string& name, Index size) {
  std::vector<float> values(static_cast<std::size_t>(size));
  find(name, {static_cast<std::uint64_t>(size)}).copy_rows(0, values);
  return values;
}

std::vector<std::string> Checkpoint::unused() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) {
    if (!used_.contains(name)) names.push_back(name);
  }
  return names;
}

std::string Checkpoint::fingerprint() const {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), &XXH3_freeState);
  XXH3_128bits_reset(state.get());
  for (const auto& [name, tensor] : tensors_) {
    // Lengths are part of it, so that no two different checkpoints give the same stream.
    const std::string description =
        fmt::format("{}:{}{}{}:", name.size(), name, tensor.dtype, core::shape_text(tensor.shape));
    XXH3_128bits_update(state.get(), description.data(), description.size());
    XXH3_128bits_update(state.get(), tensor.bytes.data(), tensor.bytes.size());
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  return fmt::format("xxh3-128:{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace evictlab::runtime
