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
    throw ModelError("{}: no model.safetensors and no model.safetensors.index.json", model.string());
  }
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
      const auto listed = shard_of.find(tensor.name);
      if (listed == shard_of.end() || listed->second != name) {
        throw ModelError("{}: holds tensor '{}', which {} lists {}", files_.back().path().string(), tensor.name,
                         index_path.filename().string(), listed == shard_of.end() ? "nowhere" : "in " + listed->second);
      }
      add(tensor);
    }
  }
  for (const auto& [tensor, file] : shard_of) {
    if (!contains(tensor)) {
      throw ModelError("{}: tensor '{}' is missing, though {} lists it there", (model_ / file).string(), tensor,
                       index_path.filename().string());
    }
  }
}

WeightMatrix Checkpoint::find(const std::string& name, const std::vector<std::uint64_t>& shape) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
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

void Checkpoint::require_all_used(const std::set<std::string>& ignored, std::string_view ignored_suffix) const {
  for (const auto& [name, tensor] : tensors_) {
    if (!used_.contains(name) && !ignored.contains(name) && !name.ends_with(ignored_suffix)) {
      throw ModelError("{}: tensor '{}' {} has no place in the model {} describes", model_.string(), name,
                       core::shape_text(tensor.shape), configuration_);
    }
  }
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
