#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/progress.hpp"
#include "lab/observer.hpp"

namespace evictlab::cli {

/// Shows a use case on stderr: messages as lines, progress as a bar on a terminal.
class Console final : public lab::Observer {
 public:
  void progress(const lab::Stage& stage, double done, double total) override;
  void message(lab::Topic topic, const std::string& text) override;

 private:
  std::string label_;  // of the bar
  std::unique_ptr<core::Progress> bar_;
};

/// Says which tables were written: the first with its path, the others, which lie beside it, by name.
void report_written(const std::vector<std::filesystem::path>& files);

}  // namespace evictlab::cli
