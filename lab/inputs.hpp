#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <vector>

#include "core/file.hpp"

namespace evictlab::lab {

/// The files that a use case reads: none of its outputs may be one of them, under whatever name.
class Inputs {
 public:
  /// A file; or a directory of parts of a trace, for the files in it. What is not there is left to whoever reads it.
  Inputs& add(const std::filesystem::path& path);
  Inputs& add(const std::optional<std::filesystem::path>& path);
  Inputs& add(const std::vector<std::filesystem::path>& paths);
  /// A model: all parts of a GGUF file, or every file in a directory and below it but traces, which may be recorded
  /// there.
  Inputs& add_model(const std::filesystem::path& model);

  bool contain(const std::filesystem::path& path) const;
  /// Throws core::InputError when `output`, or the temporary file that becomes it, is an input. To be asked when the
  /// directory of `output` is there, through which its path may lead.
  void refuse(const std::filesystem::path& output) const;
  /// The same before anything is there: makes the directory of `output` meanwhile.
  void refuse_early(const std::filesystem::path& output) const;

 private:
  void add_file(const std::filesystem::path& path);

  std::map<core::FileIdentity, std::filesystem::path> files_;
};

}  // namespace evictlab::lab
