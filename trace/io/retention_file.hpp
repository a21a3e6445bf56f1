#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trace/layer.hpp"

// Files of kept positions in HDF5: the retentions of a replay, for other programs to read.
//
//     /                       format = "evictlab-retention", format_version = 1, writer, command
//     /<run>/                 <run> = 0, 1, 2, ... one policy at one budget on one prompt;
//                             policy, budget, prompt (texts as given), granularity, layers
//         <l>/positions       [sum of kept]  int32: kept positions of head 0, then head 1, ... in storage order
//         <l>/offsets         [heads + 1]    int64: head k keeps positions[offsets[k]] ... positions[offsets[k+1] - 1]
//         <l>/budgets         [heads]        int64: how many positions the head was allowed

namespace evictlab::trace {

/// Writes a file of kept positions, run by run.
class RetentionWriter {
 public:
  /// Throws TraceError: the file exists and `force` is not set, or cannot be written.
  RetentionWriter(std::filesystem::path path, const std::string& command, bool force);
  ~RetentionWriter();  // without finish(): leaves nothing behind
  RetentionWriter(const RetentionWriter&) = delete;
  RetentionWriter& operator=(const RetentionWriter&) = delete;

  /// Begins a run; write_layer() adds to it. `granularity` says what a head is: "query", "kv" or "layer".
  void begin_run(const std::string& policy, const std::string& budget, const std::string& prompt,
                 const std::string& granularity);
  /// `offsets` has heads + 1 ascending entries from 0 to positions.size(); `budgets` has one per head.
  void write_layer(Index layer, std::span<const std::int32_t> positions, std::span<const std::int64_t> offsets,
                   std::span<const std::int64_t> budgets);
  /// Syncs and renames: until then the file has its old content, or is not there.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The kept positions of one layer: all heads, one after the other.
struct KeptLayer {
  std::vector<std::int32_t> positions;
  std::vector<std::int64_t> offsets;  // [heads + 1]
};

/// Reads a file of kept positions.
class RetentionReader {
 public:
  struct Run {
    std::string policy;
    std::string budget;
    std::string prompt;
    std::string granularity;
    std::vector<std::int64_t> layers;
  };

  /// Throws TraceError when the file is no retention file of a known version.
  explicit RetentionReader(const std::filesystem::path& path);
  ~RetentionReader();
  RetentionReader(const RetentionReader&) = delete;
  RetentionReader& operator=(const RetentionReader&) = delete;

  const std::filesystem::path& path() const;
  const std::vector<Run>& runs() const { return runs_; }
  /// Throws TraceError when it is not there or its offsets do not divide its positions. Thread-safe.
  KeptLayer layer(std::size_t run, Index layer) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::vector<Run> runs_;
};

}  // namespace evictlab::trace
