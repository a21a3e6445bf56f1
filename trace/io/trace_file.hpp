#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/file.hpp"
#include "trace/io/hdf5/file.hpp"
#include "trace/io/layout.hpp"

namespace evictlab::trace {

/// Reads one HDF5 file of a trace: all of it, or one part. Shared by reader, writer and verify_trace.
class TraceFile {
 public:
  struct Entry {
    PromptInfo info;
    Index index = 0;  // orders the prompts of a trace
  };

  /// Reads and checks the root, the model and every complete prompt's attributes and spans; throws TraceError. Digests
  /// are those of all groups but single layers'.
  explicit TraceFile(const std::filesystem::path& path);

  const hdf5::File& file() const { return file_; }
  const layout::Provenance& provenance() const { return provenance_; }
  const ModelInfo& model() const { return model_; }
  /// Sorted by index, then id.
  const std::vector<Entry>& prompts() const { return prompts_; }
  /// Ids of prompts that are not marked complete.
  const std::vector<std::string>& incomplete() const { return incomplete_; }

  bool has_digests() const { return provenance_.format_version >= layout::kFirstVersionWithDigests; }
  /// Throws TraceError when the group of a layer does not have its digest: before its fields are read.
  void check_layer(const PromptInfo& prompt, Index layer) const;
  /// The same for all that is in a group, the layers of a prompt for example.
  void check_all_in(const std::string& group) const;
  // Each throws TraceError when it is missing, or its type or shape is not what the attributes say.
  /// The hash and the ids are checked.
  std::vector<std::int32_t> tokens(const PromptInfo& prompt) const;
  // Of these, the hash and the values are left to whoever reads them.
  /// Borrowed from the mapped file where it lies there in one piece, properly aligned; read otherwise.
  Tensor field(const PromptInfo& prompt, Index layer, Field field) const;
  Index query_count(const PromptInfo& prompt, Index layer) const;
  bool has_output_weight(Index layer) const;
  RowMatrix output_weight(Index layer) const;

 private:
  /// Digests of version 2, hashes of texts of version 1.
  void check_group(const std::string& group) const;
  void check_groups() const;
  /// A dataset's elements in the mapped file, where they can be used there.
  std::optional<std::span<const std::byte>> in_place(const hdf5::Dataset& found) const;

  hdf5::File file_;
  std::shared_ptr<const core::MappedFile> map_;  // null where the file cannot be mapped
  layout::Provenance provenance_;
  ModelInfo model_;
  std::vector<Entry> prompts_;
  std::vector<std::string> incomplete_;
};

}  // namespace evictlab::trace
