#pragma once

#include <chrono>
#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "lab/observer.hpp"
#include "testing/temporary_directory.hpp"
#include "trace/io/writer.hpp"
#include "trace/synthetic.hpp"

namespace evictlab::lab {

inline trace::SyntheticOptions small_synthetic() {
  trace::SyntheticOptions options;
  options.prompts = 3;
  options.layers = 2;
  options.length = 96;
  options.future = 4;
  options.window = 16;
  return options;
}

/// A synthetic trace of three prompts and two layers in a directory of its own.
class SmallTrace {
 public:
  explicit SmallTrace(trace::Tier tier = trace::SyntheticOptions().tier) {
    trace::SyntheticOptions options = small_synthetic();
    options.tier = tier;
    trace::TraceWriter writer({.path = path()}, trace::synthetic_model(options));
    for (trace::Index layer = 0; tier == trace::Tier::kFull && layer < options.layers; ++layer) {
      writer.write_output_weight(layer, trace::synthetic_output_weight(options, layer));
    }
    for (trace::Index i = 0; i < options.prompts; ++i) writer.write_prompt(trace::synthetic_prompt(options, i));
    writer.finish();
  }

  std::filesystem::path path() const { return directory_.path() / "trace.h5"; }
  std::filesystem::path folder(const std::string& name) const { return directory_.path() / name; }

 private:
  testing::TemporaryDirectory directory_;
};

/// Keeps the messages and counts the calls of progress.
class RecordingObserver : public Observer {
 public:
  void progress(const Stage& stage, double, double) override {
    stages.push_back(stage.label);
    starts.insert(stage.start);
  }
  void message(Topic topic, const std::string& text) override { messages.emplace_back(topic, text); }

  std::vector<std::string> of(Topic topic) const {
    std::vector<std::string> texts;
    for (const auto& [about, text] : messages) {
      if (about == topic) texts.push_back(text);
    }
    return texts;
  }

  std::vector<std::string> stages;
  std::set<std::chrono::steady_clock::time_point> starts;
  std::vector<std::pair<Topic, std::string>> messages;
};

/// Interrupts the work after so many calls of progress.
class InterruptingObserver final : public RecordingObserver {
 public:
  explicit InterruptingObserver(std::size_t after) : after_(after) {}
  void progress(const Stage& stage, double done, double total) override {
    RecordingObserver::progress(stage, done, total);
    if (stages.size() > after_) throw core::Interrupted();
  }

 private:
  std::size_t after_;
};

}  // namespace evictlab::lab
