#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/gguf.hpp"
#include "core/safetensors.hpp"
#include "runtime/weights.hpp"

namespace evictlab::runtime {

/// All tensors of a model: those of a GGUF file, or of a directory's model.safetensors or the shards that its
/// model.safetensors.index.json names. Owns the mappings; what it returns is valid as long as it lives.
class Checkpoint {
 public:
  /// Throws core::InputError in one line: no checkpoint, a damaged file, an index that does not fit its shards. Names
  /// of a model that was saved without its head lack "model." in front; they are given it.
  explicit Checkpoint(const std::filesystem::path& model);

  bool contains(std::string_view name) const { return tensors_.contains(name); }

  /// The tensor of that name and shape [rows, columns], kept in its own type. Throws ModelError when it is
  /// missing, has another shape than the configuration asks for, or a type that is no core::StorageType.
  WeightMatrix matrix(const std::string& name, Index rows, Index columns);
  /// The same for a vector [size], converted to float.
  std::vector<float> vector(const std::string& name, Index size);

  /// The names of the tensors that neither matrix() nor vector() was asked for, in order.
  std::vector<std::string> unused() const;

  /// "xxh3-128:<hex>" over names, dtypes, shapes and bytes of all tensors in the order of their names: the
  /// same however they are spread over files. Reads every byte.
  std::string fingerprint() const;

 private:
  /// What the formats have in common.
  struct Tensor {
    std::string_view dtype;
    std::span<const std::uint64_t> shape;
    std::span<const std::byte> bytes;
  };

  void open_gguf(const std::filesystem::path& path);
  void open_single(const std::filesystem::path& path);
  void open_shards(const std::filesystem::path& index_path);
  void add(const core::StoredTensor& tensor);
  void add_model_prefix();
  WeightMatrix find(const std::string& name, const std::vector<std::uint64_t>& shape);

  std::filesystem::path model_;
  std::string_view configuration_;  // what says which tensors there should be
  std::vector<core::SafetensorsFile> files_;
  std::optional<core::GgufFile> gguf_;
  std::map<std::string, Tensor, std::less<>> tensors_;
  std::map<std::string, std::string, std::less<>> listed_;  // shards of tensors that an index lists and no shard holds
  std::set<std::string, std::less<>> used_;
};

}  // namespace evictlab::runtime
