#pragma once

#include <filesystem>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/file.hpp"
#include "trace/io/settings.hpp"
#include "trace/model.hpp"

namespace evictlab::trace {

struct WriterOptions {
  std::filesystem::path path;  // the trace to make; parts are collected in path.parts/
  bool append = false;         // keep the prompts an existing trace holds
  bool force = false;          // replace an existing trace
  bool keep_parts = false;     // leave the directory of parts as the trace; do not merge
  std::string command{};       // the command line, stored in the trace
  bool can_append = true;      // whether whoever reads an error could ask for `append`
};

class PromptWriter;

/// Holds the place of a trace for one recording, from before the model is read: a second recording to the same place,
/// and one that would overwrite a trace unasked, fail at once. Removes the directories it made that stay empty.
class TracePlace {
 public:
  /// Throws TraceError: the trace exists (neither append nor force), another recording is writing there, or nothing
  /// can be written there.
  explicit TracePlace(WriterOptions options);

 private:
  friend class TraceWriter;
  WriterOptions options_;
  std::filesystem::path parts_;
  bool fresh_ = false;  // no parts were there
  std::unique_ptr<core::MadeDirectories> directories_;
  std::unique_ptr<core::DirectoryLock> lock_;
};

/// Writes a trace so that a recording that stops at any moment, for whatever reason, loses at most the prompt being
/// written and is resumed by the same command: every prompt goes to path.parts/<id>.h5.tmp, is closed, synced and
/// renamed; finish() merges the parts into path.tmp, syncs and renames it. Until then an existing trace is untouched.
/// Finished prompts in path.parts/ are kept; with `force` only those of the same model and settings.
class TraceWriter {
 public:
  /// Throws TraceError: the trace, or what is in path.parts/, is of another model or other settings.
  TraceWriter(TracePlace place, ModelInfo model, Settings settings = {});
  TraceWriter(WriterOptions options, ModelInfo model, Settings settings = {});
  ~TraceWriter();  // without finish(): the finished prompts stay in path.parts/
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;

  /// The finished prompt of that id, in the trace appended to or in the parts; null when there is none.
  const PromptInfo* find(const std::string& id) const;
  bool contains(const std::string& id) const { return find(id) != nullptr; }
  /// How many finished prompts there are, and how many of them are in the parts.
  std::size_t prompts() const;
  std::size_t prompts_in_parts() const;
  /// True if a prompt is there and was recorded alike: tier, window, layers, kind of future, tokens (those given; a
  /// future yet to be generated is not compared). What was recorded otherwise is dropped with `force`; without,
  /// TraceError is thrown.
  bool contains_alike(const PromptInfo& info, std::span<const std::int32_t> tokens);
  /// W_O [H*d, hidden] of one layer, once per model; finite.
  void write_output_weight(Index layer, const RowMatrix& weight);
  /// One prompt at a time. `tokens` are the prompt's and the future's [n+T]; where the future is yet to be
  /// generated, info.future_length is 0 and they are the prompt's: set_future() adds the rest. With `force`, a prompt
  /// that is in the parts is replaced.
  PromptWriter begin_prompt(PromptInfo info, std::vector<std::int32_t> tokens);
  /// Writes a whole prompt from memory.
  void write_prompt(const MemoryTrace::Prompt& prompt);
  /// Merges the parts into the trace and removes them. Throws TraceError when a part is not what was written. With
  /// `force`, parts of prompts that were neither written nor found by contains_alike() are left out. Returns the path
  /// of what was made.
  std::filesystem::path finish();
  /// The directory that holds the finished prompts until then.
  const std::filesystem::path& parts() const;

 private:
  friend class PromptWriter;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Writes one prompt, dataset by dataset, in any order; an unfinished prompt leaves nothing behind.
class PromptWriter {
 public:
  PromptWriter(PromptWriter&&) noexcept;
  ~PromptWriter();
  /// Each field of each layer once; its shape must be that of field_shape(), its values what value_problem() wants.
  void write(Index layer, Field field, const Tensor& tensor);
  /// All fields of a layer, and its query count.
  void write(const LayerData& layer);
  /// The future's tokens [T], where they were not known at the beginning; before any field that covers them.
  void set_future(std::span<const std::int32_t> tokens);
  /// Sets the number of positions that query_mean and query_covariance of that layer are over (their attribute).
  void set_query_count(Index layer, Index count);
  /// Checks that every field of the tier is there, closes, syncs, renames.
  void finish();

 private:
  friend class TraceWriter;
  struct Impl;
  explicit PromptWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace evictlab::trace
