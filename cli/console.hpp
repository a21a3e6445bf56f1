#pragma once

#include <cstddef>
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

/// How many prompts a command put into a trace, how many of them had been there before, and how many others are there.
struct TracePrompts {
  std::size_t prompts = 0;
  std::size_t already = 0;
  std::size_t others = 0;
};
/// Says what a finished trace holds; `verb` says how it got there.
void report_trace(const char* verb, const TracePrompts& held, const std::filesystem::path& trace);

/// Runs a use case on a console whose bar ends before anything else is printed.
template <typename UseCase>
auto on_console(const UseCase& use_case) {
  Console console;
  return use_case(console);
}

/// Says which tables were written: the first with its path, the others, which lie beside it, by name.
void report_written(const std::vector<std::filesystem::path>& files);

}  // namespace evictlab::cli
