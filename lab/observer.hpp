#pragma once

#include <chrono>
#include <functional>
#include <string>

namespace evictlab::lab {

/// What a message to an observer is about.
enum class Topic {
  kLeftOut,      // a policy that cannot be run, and why
  kInfeasible,   // a policy at a budget below what it protects
  kNote,         // what a policy reports about its runs
  kBudget,       // a budget in other units, converted to slots
  kResuming,     // how many prompts an earlier run finished
  kInterrupted,  // where the finished prompts are kept
  kWritten,      // files that were written while there is more to do
};

/// What is being done, for a progress bar: "sweeping", in "layers". Made when the work begins: the first progress comes
/// when its first units are finished.
struct Stage {
  std::string label;
  std::string unit = "layers";
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};

/// Follows a use case while it works. This one ignores everything.
///
/// Calls come one at a time; progress() from any thread. An observer interrupts the work by throwing
/// core::Interrupted from any call: the use case stops there, keeps the finished prompts of resumable work, and
/// throws it on.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void progress(const Stage& stage, double done, double total);
  virtual void message(Topic topic, const std::string& text);
};

/// Passes progress of the computing folders to an observer, which must outlive it.
std::function<void(double done, double total)> progress_to(Observer& observer, Stage stage);

}  // namespace evictlab::lab
