#include "cli/console.hpp"

#include <fmt/format.h>

#include <iostream>

#include "core/error.hpp"

namespace evictlab::cli {
namespace {

std::string line_of(lab::Topic topic, const std::string& text) {
  switch (topic) {
    case lab::Topic::kLeftOut:
    case lab::Topic::kInfeasible:
      return "left out: " + text;
    case lab::Topic::kNote:
      return "note: " + text;
    case lab::Topic::kBudget:
      return "budget: " + text;
    case lab::Topic::kResuming:
      return "going on: " + text;
    case lab::Topic::kInterrupted:
      return fmt::format("finished prompts are kept in {}; the same command goes on", text);
    case lab::Topic::kWritten:
      return "wrote " + text;
  }
  return text;
}

}  // namespace

void Console::progress(const lab::Stage& stage, double done, double total) {
  if (!bar_ || label_ != stage.label) {
    bar_.reset();  // ends its line before the next one begins
    bar_ = std::make_unique<core::Progress>(stage.label, total, stage.unit, stage.start);
    label_ = stage.label;
  }
  bar_->advance_to(done);
  if (done >= total) bar_.reset();
}

void Console::message(lab::Topic topic, const std::string& text) {
  bar_.reset();
  std::cerr << line_of(topic, text) + "\n";
}

void report_trace(const char* verb, const TracePrompts& held, const std::filesystem::path& trace) {
  const std::string before = held.already > 0 ? fmt::format(" ({} of them before)", held.already) : "";
  const std::string others = held.others > 0 ? fmt::format(", which holds {} more", held.others) : "";
  std::cerr << fmt::format("{} {} prompt{}{} in {}{}\n", verb, held.prompts, held.prompts == 1 ? "" : "s", before,
                           trace.string(), others);
}

void report_written(const std::vector<std::filesystem::path>& files) {
  std::string text = "wrote " + files.front().string();
  for (std::size_t i = 1; i < files.size(); ++i) text += ", " + files[i].filename().string();
  std::cerr << text + "\n";
}

}  // namespace evictlab::cli
