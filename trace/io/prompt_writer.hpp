#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "trace/io/hdf5/file.hpp"
#include "trace/io/writer.hpp"

namespace evictlab::trace {

/// The finished prompts of a TraceWriter; outlives every PromptWriter.
struct WrittenPrompts {
  struct Entry {
    PromptInfo info;
    std::vector<std::int32_t> tokens;
    std::filesystem::path part = {};  // empty: in the trace appended to
  };
  std::map<std::string, Entry> by_id;
  bool writing = false;  // a prompt is begun and not finished
};

struct PromptWriter::Impl {
  Impl(const std::filesystem::path& part, const std::string& command, const Settings& settings, ModelInfo model,
       PromptInfo info, std::vector<std::int32_t> tokens, Index index, WrittenPrompts& written);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void write(Index layer, Field field, const Tensor& tensor);
  void set_future(std::span<const std::int32_t> future);
  void finish();

  std::filesystem::path part;       // the finished file
  std::filesystem::path temporary;  // the file until then
  ModelInfo model;
  PromptInfo info;
  std::vector<std::int32_t> tokens;  // [n+T]
  Index index;                       // in the order of prompts
  WrittenPrompts& written;
  hdf5::File file;
  std::set<std::pair<Index, Field>> fields;  // those written
  std::map<Index, Index> query_counts;       // by layer
  bool finished = false;

 private:
  std::string name_of(Index layer, Field field) const;
  void write_description();
};

}  // namespace evictlab::trace
