#pragma once

#include <filesystem>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "trace/model.hpp"

namespace evictlab::trace {

struct WriterOptions {
  std::filesystem::path path;  // the trace to make; parts are collected in path.parts/
  bool append = false;         // keep the prompts an existing trace holds
  bool force = false;          // replace an existing trace
  bool keep_parts = false;     // leave the directory of parts as the trace; do not merge
  std::string command{};       // the command line, stored in the trace
};

class PromptWriter;

/// Writes a trace so that a kill at any moment loses at most the prompt being written: every prompt
/// goes to path.parts/<id>.h5.tmp, is closed, synced and renamed; finish() merges the parts into
/// path.tmp, syncs and renames it. Prompts that a killed recording left in path.parts/ are kept.
class TraceWriter {
 public:
  /// Throws TraceError: the trace exists (neither append nor force), or holds another model.
  TraceWriter(WriterOptions options, ModelInfo model);
  ~TraceWriter();  // without finish(): the finished prompts stay in path.parts/
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;

  /// True if a finished prompt of that id is there already (append, or left by a killed recording).
  bool contains(const std::string& id) const;
  /// True if it is there and was recorded alike: tier, window, layers, kind of future, tokens (those given; a
  /// future yet to be generated is not compared). Throws TraceError when it was recorded otherwise.
  bool contains_alike(const PromptInfo& info, std::span<const std::int32_t> tokens) const;
  /// W_O [H*d, hidden] of one layer, once per model.
  void write_output_weight(Index layer, const RowMatrix& weight);
  /// One prompt at a time. `tokens` are the prompt's and the future's [n+T]; where the future is yet to be
  /// generated, info.future_length is 0 and they are the prompt's: set_future() adds the rest.
  PromptWriter begin_prompt(PromptInfo info, std::vector<std::int32_t> tokens);
  /// Writes a whole prompt from memory.
  void write_prompt(const MemoryTrace::Prompt& prompt);
  /// Merges the parts into the trace and removes them. Returns the path of what was made.
  std::filesystem::path finish();

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
  /// Each field of each layer once; its shape must be that of field_shape().
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
