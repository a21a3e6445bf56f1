#pragma once

#include <chrono>
#include <string>

namespace evictlab::core {

/// A one-line progress bar on stderr with rate and time left. Silent unless stderr is a terminal.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  /// `total` units of work named `unit` ("tokens", "prompts"); `label` says what is being done. The rate counts from
  /// `start`: a bar that is made when the first units are finished gives the time at which they were begun.
  Progress(std::string label, double total, std::string unit, Clock::time_point start = Clock::now());
  ~Progress();  ///< ends the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` units are finished; redraws at most ten times a second.
  void advance_to(double done);
  void advance(double units) { advance_to(done_ + units); }

  /// The line as drawn when `done` of `total` units took `seconds`.
  static std::string line(const std::string& label, double done, double total, const std::string& unit, double seconds);

 private:
  void draw();

  std::string label_;
  double total_;
  std::string unit_;
  double done_ = 0;
  bool visible_;
  bool drawn_ = false;
  Clock::time_point start_;
  Clock::time_point last_draw_;
};

}  // namespace evictlab::core
