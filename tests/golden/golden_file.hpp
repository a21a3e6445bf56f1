#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trace/io/hdf5/file.hpp"
#include "trace/layer.hpp"

// Golden files (format "evictlab-golden", version 1): the inputs that the authors' unmodified code was given, and what
// it kept. /layers/<l>/{query [H,64,d], key [G,n,d], value, o_proj [64,H*d], query_full [H,n,d], decode_query,
// decode_key}, /golden/<name>/{kept [L,heads,n], budgets, ...}.

namespace evictlab::golden {

using trace::Index;

/// A root's "format" or "policy" says what an HDF5 file is; empty for any other file.
enum class FileKind { kOther, kFamily, kAdjustBudgets };
FileKind kind_of(const std::filesystem::path& path);

/// The inputs of a family file as a trace's layers.
class Inputs {
 public:
  explicit Inputs(const trace::hdf5::File& file);

  const std::vector<trace::LayerData>& layers() const { return layers_; }
  const trace::LayerShape& shape() const { return layers_.front().shape; }
  /// Mean and covariance of all queries from position `first` on, in a layer's query_mean, query_covariance and
  /// query_count; empty where the file does not hold all queries. Traces have them from position 4 on.
  trace::LayerData query_statistics(std::size_t layer, Index first) const;

 private:
  trace::LayerData read_layer(const trace::hdf5::File& file, Index layer);

  std::vector<trace::LayerData> layers_;
  std::vector<trace::Tensor> all_queries_;  // [H, n, d] by layer; empty where the file has the window's alone
};

/// One result of the authors' code.
struct Case {
  std::string name;
  std::string path;       // "/golden/<name>"
  std::string algorithm;  // snapkv family: "algo" of params; cake family: the policy
  bool per_query_head = false;
  nlohmann::json params;

  Case(const trace::hdf5::File& file, const std::string& name, bool cake_family);
};

}  // namespace evictlab::golden
