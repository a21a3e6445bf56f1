#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "trace/io/layout.hpp"
#include "trace/model.hpp"

namespace evictlab::trace {

/// Reads a trace on disk: one HDF5 file, or a directory of parts (a running or killed recording, or one kept
/// with --keep-parts), whose unfinished prompts are left out. Whatever is read is checked: it is what was
/// written (digests and hashes), and its values are what they can be (trace/values.hpp).
class TraceReader : public Source {
 public:
  /// Throws TraceError: missing, not HDF5, not a trace, another format version, damaged.
  explicit TraceReader(const std::filesystem::path& path);
  ~TraceReader() override;

  const ModelInfo& model() const override;
  const std::vector<PromptInfo>& prompts() const override;
  std::vector<std::int32_t> tokens(Index prompt) const override;
  LayerData layer(Index prompt, Index layer, Fields fields) const override;
  RowMatrix output_weight(Index layer) const override;

  using Provenance = layout::Provenance;
  const Provenance& provenance() const;

  /// Lists every dataset with its axes, unit and stored bytes.
  struct DatasetInfo {
    std::string path;   // inside the trace
    std::string shape;  // "[4, 64, 508]"
    std::string type;   // "float16", "float32", "int32", ...
    std::string axes;
    std::string unit;
    std::uint64_t bytes = 0;
  };
  std::vector<DatasetInfo> datasets() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace evictlab::trace
